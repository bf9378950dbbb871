// Errors that crossed from a thread: their codes, and damage that stays the datastore's own.
import { expect, test } from 'vitest'
import { hex } from '../../../protocol/chunk.ts'
import { damageOf } from '../../../gateway/packs/damage.ts'
import { damagedRecord } from '../../../gateway/packs/record-reader.ts'
import { RECORD } from '../../../gateway/packs/format.ts'
import { errorOfThread } from '../../../gateway/common/thread-error.ts'

const id = new Uint8Array(32).fill(3)
const location = { pack: 'p', offset: 48, storedLength: 1, plainLength: 1, codec: 0, type: RECORD.node } as const

test('an error keeps its code, words and details; a code that is not in the table is INTERNAL', () => {
  const sent = { code: 'STORE_FAILED', message: 'no', details: { errno: 'EIO' } }
  expect(errorOfThread(sent)).toMatchObject(sent)
  expect(errorOfThread({ ...sent, code: 'MOON_PHASE' })).toMatchObject({ ...sent, code: 'INTERNAL' })
})

test('damage that a thread found is as good as what this one found', () => {
  const found = damagedRecord(id, 'its checksum is wrong', { location })
  const { code, message, details } = structuredClone({
    code: found.code,
    message: found.message,
    details: found.details,
  })
  const error = errorOfThread({ code, message, details })
  expect(damageOf(error)).toEqual(damageOf(found))
  expect(damageOf(error)).not.toBeNull()
  expect(damageOf(errorOfThread({ code: 'STORE_FAILED', message: 'x', details: { id: hex(id) } }))).toBeNull()
})
