// What was asked of an agent: one question per id, and only answers to questions.
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { AskedIds } from '../../../gateway/chains/asked-ids.ts'
import { batchOfRuns, type RunBatch } from '../../../gateway/chains/backlog.ts'
import { idName } from '../../../protocol/host/bytes.ts'
import { ITEM_BYTES } from '../../../gateway/memory/limits.ts'
import { ID_BYTES } from '../../../protocol/chunk.ts'
import { UPLOAD_IDS_MAX } from '../../../protocol/limits.ts'
import { retainedBytes } from '../../protocol/memory.ts'
import { ANSWER, RUN } from '../../../protocol/methods.ts'

const batch = (): RunBatch => batchOfRuns([[RUN.zero, 1]])
const length = 100

test('a wanted id is asked for once until it is in the index', () => {
  const asked = new AskedIds()
  const [first, second] = [batch(), batch()]
  const id = randomBytes(32)
  expect(asked.want(id, { batch: first, length })).toBe(ANSWER.want)
  expect(asked.want(Uint8Array.from(id), { batch: second, length })).toBe(ANSWER.have)
  expect([first.missing, second.missing, asked.open]).toEqual([1, 0, 1])
  expect(asked.takeWanted(id, length).batch).toBe(first)
  expect(asked.open).toBe(0)
  expect(asked.want(id, { batch: second, length })).toBe(ANSWER.have)
  asked.indexed([idName(id)])
  expect(asked.want(id, { batch: second, length })).toBe(ANSWER.want)
})

test('an id to be proved is asked about once, and never while its chunk is on its way', () => {
  const asked = new AskedIds()
  const [first, second] = [batch(), batch()]
  const [id, other] = [randomBytes(32), randomBytes(32)]
  expect(asked.prove(id, { batch: first, length })).toBe(ANSWER.prove)
  expect(asked.prove(id, { batch: second, length })).toBe(ANSWER.have)
  const question = asked.takeToProve(id)
  expect(question.batch).toBe(first)
  asked.wantInstead(id, question)
  expect([first.missing, second.missing, asked.open]).toEqual([1, 0, 1])
  expect(asked.prove(id, { batch: second, length })).toBe(ANSWER.have)
  expect(asked.takeWanted(id, length)).toBe(question)
  asked.want(other, { batch: first, length })
  expect(asked.prove(other, { batch: second, length })).toBe(ANSWER.have)
})

test('what was not asked for is refused, also the second time and with another length', () => {
  const asked = new AskedIds()
  const id = randomBytes(32)
  expect(() => asked.takeWanted(id, length)).toThrow(expect.objectContaining({ code: 'CHUNK_INVALID' }))
  expect(() => asked.takeToProve(id)).toThrow(expect.objectContaining({ code: 'PROOF_INVALID' }))
  asked.want(id, { batch: batch(), length })
  expect(() => asked.takeWanted(id, length - 1)).toThrow(expect.objectContaining({ code: 'CHUNK_INVALID' }))
  expect(() => asked.takeToProve(id)).toThrow(expect.objectContaining({ code: 'PROOF_INVALID' }))
  asked.takeWanted(id, length)
  expect(() => asked.takeWanted(id, length)).toThrow(expect.objectContaining({ code: 'CHUNK_INVALID' }))
})

test('what is answered and not durable takes no more than is counted for it', () => {
  const count = 16 * 1024
  const asked = new AskedIds()
  const held: unknown[] = []
  const names: string[] = []
  const before = retainedBytes()
  for (let from = 0; from < count; from += UPLOAD_IDS_MAX) {
    const batch = batchOfRuns([[RUN.ids, randomBytes(UPLOAD_IDS_MAX * ID_BYTES)]])
    const whole = { batch, length: 65_536 }
    for (let at = 0; at < batch.ids.length; at += ID_BYTES) asked.want(batch.ids.subarray(at, at + ID_BYTES), whole)
    held.push(batch)
  }
  const wanted = (retainedBytes() - before) / count
  expect(wanted).toBeLessThan(ITEM_BYTES)
  for (const batch of held as ReturnType<typeof batchOfRuns>[])
    for (let at = 0; at < batch.ids.length; at += ID_BYTES) {
      const id = batch.ids.subarray(at, at + ID_BYTES)
      asked.takeWanted(id, 65_536)
      names.push(idName(id))
    }
  const come = (retainedBytes() - before) / count
  expect(come).toBeLessThan(ITEM_BYTES)
  expect([names.length, asked.open, held.length]).toEqual([count, 0, count / UPLOAD_IDS_MAX])
})
