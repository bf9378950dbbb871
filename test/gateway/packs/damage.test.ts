// What an error carries of a damaged record comes back as it was said, and nothing is made of other errors.
import { expect, test } from 'vitest'
import { fromHex, hex } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { damageOf, MISSING, ownDamage, ownIfDamage, RECORD_TYPE_NAMES } from '../../../gateway/packs/damage.ts'
import { RECORD } from '../../../gateway/packs/format.ts'
import { damagedRecord } from '../../../gateway/packs/record-reader.ts'

const id = new Uint8Array(32).fill(7)
const location = {
  pack: 'p',
  offset: 48,
  storedLength: 1,
  plainLength: 1,
  codec: 0,
  type: RECORD.node,
  parts: 1,
  place: 0,
} as const

test('a damaged record keeps its place, type and reason; one that is missing has none', () => {
  const error = damagedRecord(id, 'its checksum is wrong', { location })
  expect(error.details).toEqual({ id: hex(id), type: RECORD.node, pack: 'p', offset: 48 })
  expect(damageOf(error)).toEqual({
    id: fromHex(hex(id)),
    type: RECORD.node,
    place: { pack: 'p', offset: 48 },
    reason: error.message,
  })
  expect(damageOf(damagedRecord(id, 'no'))).toMatchObject({ type: RECORD.chunk, place: null, reason: MISSING })
  expect(damageOf(damagedRecord(id, 'no'), RECORD.manifest)).toMatchObject({ type: RECORD.manifest, place: null })
})

test('other errors, and damage of no one record, are none', () => {
  expect(damageOf(new VarveError('STORE_FAILED', 'm', { details: { id: hex(id) } }))).toBeNull()
  expect(damageOf(ownDamage(new VarveError('STORE_FAILED', 'm', { details: { id: hex(id) } })))).toBeNull()
  expect(damageOf(ownDamage(new VarveError('DATA_DAMAGED', 'm', { details: { pack: 'p', offset: 1 } })))).toBeNull()
})

test('damage that only looks like the datastore’s own is none, whatever it says', () => {
  const { code, message, details } = damagedRecord(id, 'its checksum is wrong', { location })
  const error = new VarveError(code, message, { details, cause: damagedRecord(id, 'no', { location }) })
  expect(damageOf(error)).toBeNull()
  expect(damageOf(error, RECORD.node)).toBeNull()
  expect(damageOf(ownDamage(error))).toMatchObject({ place: { pack: 'p', offset: 48 } })
})

test('every type of record has a name', () => {
  expect(Object.values(RECORD).map((type) => RECORD_TYPE_NAMES[type])).toEqual(Object.keys(RECORD))
})

test('damage that a thread of ours found is as good as what this one found', () => {
  const { code, message, details } = damagedRecord(id, 'its checksum is wrong', { location })
  const told = new VarveError(code, message, { details })
  expect(damageOf(told)).toBeNull()
  ownIfDamage(told)
  expect(damageOf(told)).toMatchObject({ place: { pack: 'p', offset: 48 } })
})
