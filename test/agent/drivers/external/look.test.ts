// The map of a whole bitmap. Method: maps of drawn pieces; the client's side is looked at with real QEMU in test/interop.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { mapOf } from '../../../../agent/drivers/external/look.ts'
import { RANGES_MAX } from '../../../../agent/drivers/external/records.ts'

const CONTEXT = 'qemu:dirty-bitmap:b'

const source = (bits: readonly boolean[], most: number) => ({
  size: bits.length,
  blockStatus: async (offset: number, length: number) => {
    const statuses: { length: number; flags: number }[] = []
    for (const bit of bits.slice(offset, offset + Math.min(length, most))) {
      const last = statuses.at(-1)
      if (last?.flags === Number(bit)) last.length += 1
      else statuses.push({ length: 1, flags: Number(bit) })
    }
    return new Map([[CONTEXT, statuses]])
  },
})

test('what has changed is found whole, however the server cuts its answers, with the longest range that has not', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.boolean(), { minLength: 1 }), fc.integer({ min: 1, max: 9 }), async (bits, most) => {
      const { changed, clean } = await mapOf(source(bits, most), CONTEXT, bits.length)
      const marked = bits.map((_, at) => changed!.some(([offset, length]) => offset <= at && at < offset + length))
      expect(marked).toEqual(bits)
      const gaps = bits
        .map(Number)
        .join('')
        .split(/1+/u)
        .map((gap) => gap.length)
      expect(clean?.[1] ?? 0).toBe(Math.max(...gaps))
    }),
  )
})

test('more ranges than are kept count as too many', async () => {
  const bits = Array.from({ length: 2 * RANGES_MAX + 3 }, (_, at) => at % 2 === 0)
  expect((await mapOf(source(bits, bits.length), CONTEXT, bits.length)).changed).toBeNull()
})

test('a server without the context is refused', async () => {
  const other = { size: 1, blockStatus: async () => new Map() }
  await expect(mapOf(other, CONTEXT, 1)).rejects.toMatchObject({ code: 'NBD_ERROR' })
})
