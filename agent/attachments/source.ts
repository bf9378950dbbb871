// A small file that goes with a restore point, before it is read: what a driver or the configuration says of it.
import type { Reader } from './reader.ts'

/**
 * Its bytes, a file of the host, or why it could not be had. `reader` is who named the path, where that is neither the agent's
 * configuration nor one who may read whatever the agent may.
 */
export type AttachmentSource = { readonly name: string } & (
  | { readonly bytes: Uint8Array }
  | { readonly path: string; readonly reader?: Reader | null }
  | { readonly missing: string }
)
