// What the guests of a scripted day write: contents of several kinds, and changes drawn by a seed.
import type { Dice } from '../support/model-dice.ts'
import { randomBytesOf } from './random.ts'

const KIB = 1024
const MIB = 1024 * KIB

/** What chunks count in, in bytes. */
export const CHUNK_BYTES = 64 * KIB

const BLOCK_BYTES = 4 * KIB

/** Pieces that every machine may come to hold, as the packages of one distribution. */
const POOL_PIECES = 48
const POOL_SEED = 0x7000_0000

const SYSTEM_SEED = 0x6000_0000

/** Shares of a new disk: the same on all machines, and its own; the rest is zero. */
const SYSTEM_SHARE = 0.3
const OWN_SHARE = 0.35

/** Longest rewritten range, shared piece and zeroed range, in bytes. */
const REWRITE_BYTES_MAX = 512 * KIB
const PIECE_BYTES_MAX = 512 * KIB
const ZERO_BYTES_MAX = 512 * KIB

const REWRITES = 12
const PIECES = 4
const ZEROES = 2

export type Change =
  | { readonly kind: 'write'; readonly offset: number; readonly bytes: Buffer }
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number; readonly unmap: boolean }
  | { readonly kind: 'discard'; readonly offset: number; readonly length: number }

/** Bytes that do not compress, or, with an odd seed, to about half. */
export const contentOf = (seed: number, lengthBytes: number): Buffer =>
  seed % 2 === 0
    ? randomBytesOf(seed, lengthBytes)
    : Buffer.from(
        randomBytesOf(seed, Math.ceil(lengthBytes / 2))
          .toString('hex')
          .slice(0, lengthBytes),
        'latin1',
      )

/** What a machine's disk holds at first, a MiB at a time; what is not given is zero. */
export function* firstContent(machine: number, sizeBytes: number): Generator<{ offset: number; bytes: Buffer }> {
  const mebibytes = sizeBytes / MIB
  const system = Math.floor(mebibytes * SYSTEM_SHARE)
  const used = system + Math.floor(mebibytes * OWN_SHARE)
  for (let index = 0; index < used; index++) {
    const seed = index < system ? SYSTEM_SEED + index : (machine + 1) * 10_000 + index
    yield { offset: index * MIB, bytes: contentOf(seed, MIB) }
  }
}

/** A range within the disk in whole units. */
const range = (
  dice: Dice,
  sizeBytes: number,
  unitBytes: number,
  longestBytes: number,
): { offset: number; length: number } => {
  const length = unitBytes * (1 + dice.below(longestBytes / unitBytes))
  return { offset: unitBytes * dice.below((sizeBytes - length) / unitBytes + 1), length }
}

/** What happens to one machine between two backups: rewritten ranges, shared pieces, zeroes, a discard. */
export const churn = (dice: Dice, sizeBytes: number): Change[] => {
  const changes: Change[] = []
  for (let count = 0; count < REWRITES; count++) {
    const { offset, length } = range(dice, sizeBytes, BLOCK_BYTES, REWRITE_BYTES_MAX)
    changes.push({ kind: 'write', offset, bytes: contentOf(dice.below(SYSTEM_SEED), length) })
  }
  for (let count = 0; count < PIECES; count++) {
    const { offset, length } = range(dice, sizeBytes, CHUNK_BYTES, PIECE_BYTES_MAX)
    const piece = contentOf(POOL_SEED + dice.below(POOL_PIECES), PIECE_BYTES_MAX)
    changes.push({ kind: 'write', offset, bytes: piece.subarray(0, length) })
  }
  for (let count = 0; count < ZEROES; count++)
    changes.push({ kind: 'zero', ...range(dice, sizeBytes, BLOCK_BYTES, ZERO_BYTES_MAX), unmap: count % 2 === 1 })
  changes.push({ kind: 'discard', ...range(dice, sizeBytes, CHUNK_BYTES, ZERO_BYTES_MAX) })
  return changes
}
