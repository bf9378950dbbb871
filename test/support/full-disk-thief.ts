// A process that takes every byte of a file system as soon as it is free: `node full-disk-thief.ts FOLDER`, until it is ended.
import { setTimeout as sleep } from 'node:timers/promises'
import { Filler } from './full-disk.ts'

/** How often it takes what became free, in milliseconds. */
const INTERVAL_MS = 1

const filler = new Filler(process.argv[2]!)
for (;;) {
  filler.fill()
  await sleep(INTERVAL_MS)
}
