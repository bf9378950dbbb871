// METHODS.md: that it says what the sources say, and that every limit in it has its meaning.
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { METHODS } from '../../protocol/methods.ts'
import { gatewayLimits, limitText, wireLimits } from './limits-table.ts'
import { METHODS_PAGE, methodsPage } from './methods-page.ts'

test('protocol/METHODS.md is what "npm run documents" writes', async () => {
  expect(readFileSync(METHODS_PAGE, 'utf8')).toBe(await methodsPage())
})

test('every method has its section', async () => {
  const page = await methodsPage()
  for (const name of Object.keys(METHODS)) expect(page).toContain(`\n### ${name}\n`)
})

test('every limit says what it limits, and no two share a name', () => {
  const all = [...wireLimits(), ...gatewayLimits()]
  expect(all.filter(({ remark }) => remark === '').map(({ name }) => name)).toEqual([])
  expect(new Set(all.map(({ name }) => name)).size).toBe(all.length)
})

test('values are shown in the largest unit that leaves no fraction', () => {
  expect(limitText({ name: 'FRAME_BYTES_MAX', value: 8 * 1024 * 1024 })).toBe('8 MiB')
  expect(limitText({ name: 'HEAD_BYTES', value: 41 })).toBe('41 bytes')
  expect(limitText({ name: 'DEADLINE_MAX_MS', value: 86_400_000 })).toBe('1 d')
  expect(limitText({ name: 'CLOCK_SKEW_S', value: 30 })).toBe('30 s')
  expect(limitText({ name: 'PAGE_ROWS_MAX', value: 1250 })).toBe('1,250')
})
