// A thread of the database by itself: its order, its end, the one that only reads, and damage that it finds.
import { open } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { DatabaseThread } from '../../../../gateway/catalog/sqlite/database-thread.ts'
import { codeOf } from '../../auth/test-authority.ts'
import { tempFolder } from '../../../support/temp.ts'

const onDamaged = (): void => {
  throw new Error('nothing is damaged here')
}

test('answers what was given before its end, in order, and nothing after it', async () => {
  await using temp = await tempFolder()
  const thread = new DatabaseThread({ path: temp.join('db'), aside: false }, onDamaged)
  const values = Array.from({ length: 50 }, (_, index) =>
    thread.call('settings.init', { name: 'x', value: String(index) }),
  )
  const ended = thread[Symbol.asyncDispose]()
  expect(thread.ended).toBe(false)
  expect(new Set(await Promise.all(values))).toEqual(new Set(['0']))
  await ended
  expect(thread.ended).toBe(true)
  expect(await codeOf(thread.call('settings.get', { name: 'x' }))).toBe('STORE_FAILED')
  await thread[Symbol.asyncDispose]()
})

test('one that runs aside only reads, also where it is given something else', async () => {
  await using temp = await tempFolder()
  await using main = new DatabaseThread({ path: temp.join('db'), aside: false }, onDamaged)
  await main.call('settings.set', { name: 'x', value: '1' })
  await using aside = new DatabaseThread({ path: temp.join('db'), aside: true }, onDamaged)
  expect(await aside.call('tenants.list', {})).toEqual([])
  expect(await codeOf(aside.call('settings.set', { name: 'x', value: '2' }))).toBe('STORE_FAILED')
  expect(await main.call('settings.get', { name: 'x' })).toBe('1')
})

test('makes no catalog where there is none', async () => {
  await using temp = await tempFolder()
  await using aside = new DatabaseThread({ path: temp.join('db'), aside: true }, onDamaged)
  expect(await codeOf(aside.call('tenants.list', {}))).toBe('STORE_FAILED')
})

test('tells of a damaged page that it meets', async () => {
  await using temp = await tempFolder()
  {
    await using main = new DatabaseThread({ path: temp.join('db'), aside: false }, onDamaged)
    await main.call('settings.set', { name: 'x', value: '1' })
  }
  const file = await open(temp.join('db'), 'r+')
  // all pages but the first, which has the schema's beginning
  const { size } = await file.stat()
  await file.write(Buffer.alloc(size - 4096, 0x5a), 0, size - 4096, 4096)
  await file.close()
  let told = 0
  await using aside = new DatabaseThread({ path: temp.join('db'), aside: true }, () => told++)
  expect(await codeOf(aside.call('tenants.list', {}))).toBe('CATALOG_DAMAGED')
  expect(told).toBe(1)
})
