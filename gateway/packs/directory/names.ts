// Names of what lies in a folder of packs.
import { PACKS_BALLAST_NAME, PROBE_NAME } from '../../folder/layout.ts'

/** The marker, and what it is written as first. */
export const MARKER_NAME = '.varve-packs'
export const NEW_MARKER_NAME = `${MARKER_NAME}.new`

/** The number of acknowledged changes, and what it is written as first. */
export const EPOCH_NAME = '.varve-epoch'
const NEW_EPOCH_NAME = `${EPOCH_NAME}.new`

/** Names of our own files that are no packs. */
export const OWN_NAMES: ReadonlySet<string> = new Set([
  MARKER_NAME,
  NEW_MARKER_NAME,
  EPOCH_NAME,
  NEW_EPOCH_NAME,
  PACKS_BALLAST_NAME,
  PROBE_NAME,
])

/** Ending of a pack's file. */
export const PACK_SUFFIX = '.pack'
