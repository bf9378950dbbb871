// What grows and what must not: disks of very different sizes, and an index and a list of restore points that are years old.
import { sparseDisks } from './scale-disk.ts'
import { largeIndex } from './scale-index.ts'
import { inParts } from './scenario.ts'

export const parts = { disks: sparseDisks, index: largeIndex }

export const run = inParts(parts)
