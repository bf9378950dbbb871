// The map of a disk against a model that knows every sector, and against real disks.
import * as fc from 'fast-check'
import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { NbdClient, type StatusExtent } from '../../../agent/nbd/client.ts'
import {
  ALLOCATION_CONTEXT,
  diskExtents,
  mergeStatus,
  planSpans,
  type DiskExtent,
  type ExtentKind,
  type StatusSource,
} from '../../../agent/nbd/extents.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { run } from '../../support/run.ts'
import { tempFolder } from '../../support/temp.ts'
import { qemuIo, startQemuNbd } from './qemu-nbd.ts'

const SECTOR = 512
const DIRTY = 1
const HOLE = 1
const ZERO = 2

/** Joins equal neighbours of a list with one value per sector, from sector `first` to before `end`. */
const runs = (values: readonly number[], first: number, end: number): StatusExtent[] => {
  const extents: StatusExtent[] = []
  for (const flags of values.slice(first, end)) {
    const last = extents.at(-1)
    if (last?.flags === flags) extents[extents.length - 1] = { length: last.length + SECTOR, flags }
    else extents.push({ length: SECTOR, flags })
  }
  return extents
}

interface ModelSource extends StatusSource {
  readonly asked: (readonly [offset: number, length: number])[]
}

/** A source that knows one flags value per sector and answers with at most as many extents as the next of `lengths`. */
const sourceOf = (context: string, values: readonly number[], lengths: readonly number[]): ModelSource => {
  const asked: (readonly [number, number])[] = []
  return {
    size: values.length * SECTOR,
    asked,
    blockStatus: (offset, length) => {
      asked.push([offset, length])
      const extents = runs(values, offset / SECTOR, (offset + length) / SECTOR)
      const count = lengths[asked.length % lengths.length] ?? 1
      return Promise.resolve(new Map([[context, extents.slice(0, count)]]))
    },
  }
}

const collect = async (extents: AsyncIterable<DiskExtent>): Promise<DiskExtent[]> => {
  const all: DiskExtent[] = []
  for await (const extent of extents) all.push(extent)
  return all
}

const kindOf = (allocation: number, dirty: number): ExtentKind => {
  if ((dirty & DIRTY) === 0) return 'keep'
  return (allocation & ZERO) === 0 ? 'data' : 'zero'
}

/** The same map, sector by sector. */
const expectedMap = (allocation: readonly number[], dirty: readonly number[] | null): DiskExtent[] => {
  const map: DiskExtent[] = []
  for (const [sector, flags] of allocation.entries()) {
    const kind = kindOf(flags, dirty?.[sector] ?? DIRTY)
    const last = map.at(-1)
    if (last?.kind === kind) map[map.length - 1] = { ...last, length: last.length + SECTOR }
    else map.push({ offset: sector * SECTOR, length: SECTOR, kind })
  }
  return map
}

const lengthsArbitrary = fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 5 })
const sectors = fc.array(fc.tuple(fc.nat(3), fc.constantFrom(0, 0, 1, 2, 3)), { maxLength: 60 })

describe('against a model of every sector', () => {
  test('with a bitmap, short answers, any window and any bridge', async () => {
    await fc.assert(
      fc.asyncProperty(
        sectors,
        lengthsArbitrary,
        lengthsArbitrary,
        fc.integer({ min: 1, max: 70 }),
        fc.nat(8),
        async (values, allocationLengths, dirtyLengths, windowSectors, bridgeSectors) => {
          const allocationValues = values.map(([allocation]) => allocation)
          const dirtyValues = values.map(([, dirty]) => dirty)
          const allocation = sourceOf('base:allocation', allocationValues, allocationLengths)
          const client = sourceOf('bitmap', dirtyValues, dirtyLengths)
          const map = await collect(
            diskExtents({
              allocation,
              dirty: { client, context: 'bitmap' },
              size: allocation.size,
              windowBytes: windowSectors * SECTOR,
              bridgeBytes: bridgeSectors * SECTOR,
            }),
          )
          expect(map).toEqual(expectedMap(allocationValues, dirtyValues))
          for (const [offset, length] of bridgeSectors === 0 ? allocation.asked : []) {
            const asked = dirtyValues.slice(offset / SECTOR, (offset + length) / SECTOR)
            expect(asked.every((flags) => (flags & DIRTY) !== 0)).toBe(true)
          }
        },
      ),
      { numRuns: 500 },
    )
  })

  test('without a bitmap all is changed', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(3), { maxLength: 60 }), lengthsArbitrary, async (values, lengths) => {
        const allocation = sourceOf('a', values, lengths)
        const { size } = allocation
        const map = await collect(
          diskExtents({ allocation, allocationContext: 'a', dirty: null, size, windowBytes: 7 * SECTOR }),
        )
        expect(map).toEqual(expectedMap(values, null))
      }),
    )
  })

  test('a disk smaller than its exports ends where it ends', async () => {
    const allocation = sourceOf(ALLOCATION_CONTEXT, [0, 0, ZERO, ZERO], [9])
    expect(await collect(diskExtents({ allocation, dirty: null, size: 3 * SECTOR }))).toEqual([
      { offset: 0, length: 2 * SECTOR, kind: 'data' },
      { offset: 2 * SECTOR, length: SECTOR, kind: 'zero' },
    ])
  })
})

describe('the parts', () => {
  test('changed and zero is zero, a hole alone is data, unchanged is keep', () => {
    const allocation = [0, HOLE, ZERO, HOLE | ZERO].map((flags) => ({ length: 10, flags }))
    const kinds = (flags: number): ExtentKind[] =>
      [...mergeStatus(100, allocation, [{ length: 40, flags }])].map(({ kind }) => kind)
    expect(kinds(DIRTY)).toEqual(['data', 'data', 'zero', 'zero'])
    expect(kinds(0)).toEqual(['keep', 'keep', 'keep', 'keep'])
  })

  test('a merge goes as far as both maps', () => {
    const short = [{ length: 10, flags: DIRTY }]
    const long = [{ length: 30, flags: DIRTY }]
    expect([...mergeStatus(5, short, long)]).toEqual([{ offset: 5, length: 10, kind: 'data' }])
    expect([...mergeStatus(5, long, short)]).toEqual([{ offset: 5, length: 10, kind: 'data' }])
  })

  test('a span begins and ends with a change, and bridges small gaps', () => {
    const map = [8, 4, 2, 4, 6, 4, 8].map((length, index) => ({ length, flags: index % 2 }))
    const shape = (bridgeBytes: number): [number, number, boolean][] =>
      planSpans(0, map, bridgeBytes).map(({ offset, length, dirty }) => [offset, length, dirty !== null])
    expect(shape(0).filter(([, , dirty]) => dirty)).toEqual([
      [8, 4, true],
      [14, 4, true],
      [24, 4, true],
    ])
    expect(shape(2)).toEqual([
      [0, 8, false],
      [8, 10, true],
      [18, 6, false],
      [24, 4, true],
      [28, 8, false],
    ])
    expect(shape(100)).toEqual([
      [0, 8, false],
      [8, 20, true],
      [28, 8, false],
    ])
  })
})

/** A source that always answers with this map. */
const broken = (statuses: readonly StatusExtent[]): StatusSource => ({
  size: 1 << 20,
  blockStatus: () => Promise.resolve(new Map([[ALLOCATION_CONTEXT, statuses]])),
})

describe('what cannot be mapped', () => {
  test.each([
    ['does not go on', []],
    ['goes beyond its end', [{ length: 2 << 20, flags: 0 }]],
  ])('a map that %s', async (_, statuses) => {
    const map = diskExtents({ allocation: broken(statuses), dirty: null, size: 1 << 20 })
    await expect(collect(map)).rejects.toMatchObject({ code: 'NBD_PROTOCOL' })
  })

  test('a context that is not there, and a disk larger than its export', async () => {
    const allocation = broken([{ length: 1 << 20, flags: 0 }])
    const other = diskExtents({ allocation, allocationContext: 'other', dirty: null, size: 1 << 20 })
    await expect(collect(other)).rejects.toMatchObject({ code: 'NBD_ERROR' })
    const larger = diskExtents({ allocation, dirty: null, size: 2 << 20 })
    await expect(collect(larger)).rejects.toMatchObject({ code: 'NBD_ERROR' })
  })

  test('a source that fails ahead of a consumer that has stopped harms nobody', async () => {
    const values = Array.from({ length: 40 }, (_, sector) => sector % 2)
    const client = sourceOf('bitmap', values, [100])
    const allocation: StatusSource = {
      size: client.size,
      blockStatus: (offset) =>
        offset < 4 * SECTOR
          ? Promise.resolve(new Map([[ALLOCATION_CONTEXT, [{ length: SECTOR, flags: 0 }]]]))
          : Promise.reject(new VarveError('NBD_ERROR', 'It is gone.')),
    }
    const dirty = { client, context: 'bitmap' }
    for await (const extent of diskExtents({ allocation, dirty, size: client.size })) {
      expect(extent.kind).toBe('keep')
      break
    }
    const whole = collect(diskExtents({ allocation, dirty, size: client.size }))
    await expect(whole).rejects.toMatchObject({ code: 'NBD_ERROR' })
  })
})

test('a real qcow2 disk: what the increment says, laid over the old content, is the new content', async () => {
  await using folder = await tempFolder('varve-nbd')
  const disk = folder.join('a.qcow2')
  const raw = (name: string): Promise<string> =>
    run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', disk, folder.join(name)])
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', disk, '64M'])
  await qemuIo(disk, 'qcow2', 'write -P 0x11 0 8M', 'write -P 0x22 20M 4M')
  await raw('old.raw')
  await run('qemu-img', ['bitmap', '--add', '-f', 'qcow2', disk, 'cp1'])
  const scattered = Array.from({ length: 60 }, (_, index) => `write -P ${index + 1} ${index * 1024}k 4k`)
  await qemuIo(disk, 'qcow2', ...scattered, 'write -z 21M 1M', 'discard 2M 1M', 'write -P 0x77 62M 2M')
  await raw('new.raw')

  await using server = await startQemuNbd(folder, '-r', '-f', 'qcow2', '-B', 'cp1', disk)
  const context = 'qemu:dirty-bitmap:cp1'
  const connect = (name: string): Promise<NbdClient> =>
    NbdClient.connect({ socketPath: server.socketPath, exportName: 'disk', contexts: [name] })
  await using allocation = await connect(ALLOCATION_CONTEXT)
  await using bitmap = await connect(context)
  const content = await readFile(folder.join('old.raw'))
  const wanted = await readFile(folder.join('new.raw'))
  const { size } = allocation

  for (const windowBytes of [1 << 20, 1 << 30]) {
    const rebuilt = Buffer.from(content)
    const bytes = { data: 0, zero: 0, keep: 0 }
    let at = 0
    for await (const extent of diskExtents({ allocation, dirty: { client: bitmap, context }, size, windowBytes })) {
      expect(extent.offset).toBe(at)
      at += extent.length
      bytes[extent.kind] += extent.length
      const part = rebuilt.subarray(extent.offset, at)
      if (extent.kind === 'zero') part.fill(0)
      if (extent.kind === 'data') await allocation.readInto(extent.offset, part)
    }
    expect(at).toBe(size)
    expect(rebuilt.equals(wanted)).toBe(true)
    expect(bytes.zero).toBeGreaterThanOrEqual(1 << 20)
    expect(bytes.data).toBeLessThan(8 << 20)
  }

  const whole = Buffer.alloc(size, 0xee)
  for await (const { offset, length, kind } of diskExtents({ allocation, dirty: null, size })) {
    if (kind === 'zero') whole.fill(0, offset, offset + length)
    else await allocation.readInto(offset, whole.subarray(offset, offset + length))
  }
  expect(whole.equals(wanted)).toBe(true)
})
