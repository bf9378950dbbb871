// A process that takes every byte of a file system soon after it is free: `node full-disk-thief.ts FOLDER`, until it is ended.
import { setTimeout as sleep } from 'node:timers/promises'
import { Filler } from './full-disk.ts'

/**
 * How often it takes what became free, in milliseconds: one that is quicker than a write of ours takes all ballast before
 * anything is done with it.
 */
const INTERVAL_MS = 100

const filler = new Filler(process.argv[2]!)
for (;;) {
  filler.fill()
  await sleep(INTERVAL_MS)
}
