/** A file that cannot be read, or codes that cannot be written. */
export class NacError extends Error {}
