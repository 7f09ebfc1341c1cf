import { NacError } from "./errors";

/** The value of a JSON text in UTF-8. */
export function parseJson(text: Uint8Array): unknown {
  try {
    const encoded = Array.from(text, (byte) => `%${byte.toString(16).padStart(2, "0")}`);
    return JSON.parse(decodeURIComponent(encoded.join("")));
  } catch {
    throw new NacError("the metadata is not JSON");
  }
}
