// What errors of the system become: codes by cause, no path in the message.
import { readFile, writeFile } from 'node:fs/promises'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { VarveError } from '../../../protocol/errors.ts'
import { storeError } from '../../../gateway/common/store-error.ts'
import { hasCode } from '../../../protocol/host/system-error.ts'

const thrownBy = async (work: () => unknown): Promise<unknown> => {
  try {
    await work()
    return null
  } catch (error) {
    return error
  }
}

test('a full device is STORE_FULL', async () => {
  const error = await thrownBy(() => writeFile('/dev/full', 'x'))
  expect(storeError(error, 'writing')).toMatchObject({ code: 'STORE_FULL', message: 'no space left while writing' })
})

test('a full database is STORE_FULL, another failure of it says why', async () => {
  const db = new DatabaseSync(':memory:')
  db.exec('CREATE TABLE t (x); PRAGMA max_page_count = 3')
  const full = await thrownBy(() => db.exec('INSERT INTO t VALUES (zeroblob(1000000))'))
  expect(storeError(full, 'using the database')).toMatchObject({ code: 'STORE_FULL' })
  const syntax = await thrownBy(() => db.exec('NONSENSE'))
  expect(storeError(syntax, 'using the database')).toMatchObject({
    code: 'STORE_FAILED',
    message: expect.stringContaining('NONSENSE'),
  })
  db.close()
})

test('any other failure is STORE_FAILED with its code and without its path', async () => {
  const error = await thrownBy(() => readFile('/nowhere/secret-name'))
  expect(hasCode(error, 'ENOENT')).toBe(true)
  expect(hasCode(new Error('ENOENT'), 'ENOENT')).toBe(false)
  expect(storeError(error, 'reading')).toMatchObject({ code: 'STORE_FAILED', message: 'reading failed: ENOENT' })
})

test('one of our own errors stays as it is', () => {
  const error = new VarveError('DATA_DAMAGED', 'x')
  expect(storeError(error, 'reading')).toBe(error)
})
