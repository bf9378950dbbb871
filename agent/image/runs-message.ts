// What a segment says to the gateway once it is hashed: its runs of chunks, with the ids of what was read.
import { ID_BYTES } from '../../protocol/chunk.ts'
import { RUN, UP, type Up } from '../../protocol/methods.ts'
import { idAt } from '../../protocol/host/bytes.ts'
import type { Segment } from './segments.ts'

type Message = Extract<Up<'image.upload'>, [typeof UP.runs, unknown]>

/**
 * The `runs` message of a segment whose reads have these ids, those marked in `zero` being all zero; and which reads it asks
 * about, in order.
 */
export const runsMessage = (
  segment: Segment,
  ids: Uint8Array,
  zero: Uint8Array,
): { message: Message; asked: number[] } => {
  const runs: (typeof RUN.zero | typeof RUN.keep | typeof RUN.ids)[] = []
  const counts: number[] = []
  const asked: number[] = []
  const add = (kind: (typeof runs)[number], count: number): void => {
    if (runs.at(-1) === kind) counts[counts.length - 1]! += count
    else {
      runs.push(kind)
      counts.push(count)
    }
  }
  let read = 0
  for (const { kind, count } of segment.runs) {
    if (kind !== 'read') {
      add(kind === 'zero' ? RUN.zero : RUN.keep, count)
      continue
    }
    const end = read + count
    for (; read < end; read++) {
      if (zero[read] === 1) add(RUN.zero, 1)
      else {
        add(RUN.ids, 1)
        asked.push(read)
      }
    }
  }
  let from = 0
  const message = runs.map((kind, index): Message[1][number] => {
    const count = counts[index]!
    if (kind !== RUN.ids) return [kind, count]
    const bytes = new Uint8Array(count * ID_BYTES)
    for (let at = 0; at < count; at++) bytes.set(idAt(ids, asked[from++]!), at * ID_BYTES)
    return [RUN.ids, bytes]
  })
  return { message: [UP.runs, message], asked }
}
