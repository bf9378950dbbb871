// What of its host a drill takes.
import { expect, test } from 'vitest'
import { limitsOf, lookAtHost } from '../../../agent/drill/limits.ts'

const GIB = 1024 ** 3
const HOST = { freeBytes: 8 * GIB, cpus: 8, hasKvm: true }

test('a machine gets its own size, or a share of what is free', () => {
  expect(limitsOf({ memoryBytes: GIB, cpus: 2 }, {}, HOST)).toEqual({
    accelerator: 'kvm',
    memoryMib: 1024,
    cpus: 2,
    remarks: [],
  })
  const large = limitsOf({ memoryBytes: 64 * GIB, cpus: 32 }, {}, { ...HOST, hasKvm: false })
  expect(large).toMatchObject({ accelerator: 'tcg', memoryMib: 4096, cpus: 4 })
  expect(large.remarks).toHaveLength(3)
  expect(limitsOf({ memoryBytes: 64 * GIB, cpus: 32 }, { memoryMax: 6 * GIB, cpusMax: 7 }, HOST)).toMatchObject({
    memoryMib: 6144,
    cpus: 7,
  })
})

test('too little memory is refused', () => {
  for (const [wishes, freeBytes] of [
    [{}, GIB / 2],
    [{ memoryMax: 8 * GIB }, 8 * GIB],
  ] as const)
    expect(() => limitsOf({ memoryBytes: 8 * GIB, cpus: 1 }, wishes, { ...HOST, freeBytes })).toThrow(
      expect.objectContaining({ code: 'LIMIT_REACHED' }) as Error,
    )
  expect(limitsOf({ memoryBytes: GIB / 8, cpus: 1 }, {}, { ...HOST, freeBytes: GIB / 2 }).memoryMib).toBe(128)
})

test('a host is looked at', async () => {
  expect((await lookAtHost()).freeBytes).toBeGreaterThan(0)
})
