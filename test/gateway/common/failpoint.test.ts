// Failpoints: they cost nothing unless armed, and every name of the list stands in the code.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { armFailpoints, failpoint, FAILPOINTS, failpointsArmed } from '../../../gateway/common/failpoint.ts'
import { codeOf } from '../auth/test-authority.ts'
import { randomDisk, readImage } from '../maintenance/stand.ts'
import { Stand } from '../chains/script.ts'

const noSpace = (): Error => Object.assign(new Error('no space'), { code: 'ENOSPC' })

test('nobody is asked unless it is armed, and nobody any more afterwards', () => {
  failpoint('prune')
  const passed: string[] = []
  {
    using _armed = armFailpoints((name, subject) => void passed.push(`${name} ${subject}`))
    expect(failpointsArmed()).toBe(true)
    failpoint('pack.sync', 'a file')
    failpoint('prune')
  }
  expect(failpointsArmed()).toBe(false)
  failpoint('prune')
  expect(passed).toEqual(['pack.sync a file', 'prune '])
})

test('the list and the code name the same places', () => {
  const folder = path.resolve(import.meta.dirname, '../../../gateway')
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
  const named = files.flatMap((file) =>
    [...readFileSync(path.join(folder, file), 'utf8').matchAll(/\bfailpoint\('([^']+)'/gu)].map(([, name]) => name),
  )
  expect([...new Set(named)].toSorted()).toEqual([...FAILPOINTS].toSorted())
})

test('an error at a failpoint is the disk’s: half a record stays in its pack, is never referenced, and the next upload goes on', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const plains = randomDisk(5)
  let half = 0
  {
    using _armed = armFailpoints((name) => {
      // the first one is a pack's header
      if (name === 'pack.append.half' && ++half === 2) throw noSpace()
    })
    expect(await codeOf(stand.point(machine, plains))).toBe('STORE_FULL')
  }
  await stand.fail(machine)
  const { root } = await stand.point(machine, plains)
  expect(await readImage(stand, root, plains.length)).toEqual(plains)
})
