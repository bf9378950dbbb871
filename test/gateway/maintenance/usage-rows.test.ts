// The rows of usage held against a model that counts each record by looking at every image that has it.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { recordBytes } from '../../../gateway/packs/format.ts'
import { Lattice } from '../../../gateway/maintenance/lattice.ts'
import { fittingRows, rowsAbout, usageRows, type CountedImage } from '../../../gateway/maintenance/usage-rows.ts'
import type { UsageRow } from '../../../protocol/maintenance.ts'

const CHUNK_BYTES = 4096
const MANIFEST_LENGTH = 300

/** A disk of a point as the model has it: which records its chunks are, with repetition. */
interface ModelImage {
  readonly machine: string
  readonly disk: string
  readonly point: string
  readonly chunks: readonly number[]
}

const storedOf = (chunk: number): number => 100 + chunk * 7

const world = fc
  .uniqueArray(
    fc.record({
      machine: fc.nat({ max: 2 }),
      disk: fc.nat({ max: 2 }),
      point: fc.nat({ max: 3 }),
      chunks: fc.array(fc.nat({ max: 30 }), { maxLength: 12 }),
    }),
    { minLength: 1, maxLength: 24, selector: ({ machine, disk, point }) => machine * 100 + disk * 10 + point },
  )
  .map((list) =>
    list.map(({ machine, disk, point, chunks }): ModelImage => ({
      machine: `m${machine}`,
      disk: `d${disk}`,
      point: `p${machine}-${point}`,
      chunks,
    })),
  )

const sum = (numbers: Iterable<number>): number => [...numbers].reduce((total, one) => total + one, 0)

const report = (
  images: readonly ModelImage[],
  wanted = { machine: null as string | null, points: true },
): UsageRow[] => {
  const lattice = new Lattice(images)
  const marks = new Map<number, number>()
  for (const [index, { chunks }] of images.entries())
    for (const chunk of chunks) {
      const before = marks.get(chunk)
      marks.set(chunk, before === undefined ? lattice.image(index) : lattice.join(before, lattice.image(index)))
    }
  const points = [...new Map(images.map(({ machine, point }) => [point, machine]))].map(([id, machine]) => ({
    id,
    machine,
    timeMs: 5,
    manifestLength: MANIFEST_LENGTH,
  }))
  // manifests are the tenant's, as a survey counts them
  const owners = new Map([[1, { plainBytes: 0, storedBytes: points.length * recordBytes(MANIFEST_LENGTH) }]])
  for (const [chunk, code] of marks) {
    const before = owners.get(code) ?? { plainBytes: 0, storedBytes: 0 }
    const plainBytes = before.plainBytes + CHUNK_BYTES
    owners.set(code, { plainBytes, storedBytes: before.storedBytes + storedOf(chunk) })
  }
  const counted = images.map(({ machine, disk, point, chunks }): CountedImage => ({
    machine,
    disk,
    point,
    size: 20 * CHUNK_BYTES,
    usedBytes: chunks.length * CHUNK_BYTES,
  }))
  return rowsAbout(usageRows({ images: counted, points, lattice, owners }, wanted), wanted.machine)
}

/** Everything of a row, from the images that are part of it and those that are not. */
const modelRow = (images: readonly ModelImage[], isIn: (image: ModelImage) => boolean): Partial<UsageRow> => {
  const own = images.filter(isIn)
  const elsewhere = new Set(images.filter((image) => !isIn(image)).flatMap(({ chunks }) => chunks))
  const only = [...new Set(own.flatMap(({ chunks }) => chunks))].filter((chunk) => !elsewhere.has(chunk))
  const usedBytes = sum(own.map(({ chunks }) => chunks.length)) * CHUNK_BYTES
  return {
    logicalBytes: own.length * 20 * CHUNK_BYTES,
    usedBytes,
    uniqueBytes: only.length * CHUNK_BYTES,
    sharedBytes: usedBytes - only.length * CHUNK_BYTES,
    storedBytes: sum(only.map(storedOf)),
  }
}

const manifests = (images: readonly ModelImage[], isIn: (image: ModelImage) => boolean): number =>
  new Set(images.filter(isIn).map(({ point }) => point)).size * recordBytes(MANIFEST_LENGTH)

const partOf =
  (row: UsageRow) =>
  (image: ModelImage): boolean =>
    row.scope === 'tenant' ||
    (row.machine === image.machine &&
      (row.disk === null || row.disk === image.disk) &&
      (row.point === null || row.point === image.point))

test('every row is what removing that part would free, and its figures are those of the model', () => {
  fc.assert(
    fc.property(world, (images) => {
      const rows = report(images)
      for (const row of rows) {
        const isIn = partOf(row)
        const model = modelRow(images, isIn)
        const withManifests = row.scope === 'disk' ? 0 : manifests(images, isIn)
        expect(row).toMatchObject({ ...model, storedBytes: model.storedBytes! + withManifests })
        expect(row.points).toBe(new Set(images.filter(isIn).map(({ point }) => point)).size)
        expect(row.timeMs).toBe(row.scope === 'point' ? 5 : null)
      }
      const count = (key: (image: ModelImage) => string): number => new Set(images.map(key)).size
      expect(rows.length).toBe(
        1 +
          count(({ machine }) => machine) +
          count(({ machine, disk }) => `${machine} ${disk}`) +
          count(({ point }) => point),
      )
    }),
    { numRuns: 300 },
  )
})

test('the figures of parts add up to those of the whole, but for what parts share', () => {
  fc.assert(
    fc.property(world, (images) => {
      const rows = report(images)
      const [tenant] = rows
      const machines = rows.filter(({ scope }) => scope === 'machine')
      expect(sum(machines.map(({ usedBytes }) => usedBytes))).toBe(tenant!.usedBytes)
      expect(sum(machines.map(({ logicalBytes }) => logicalBytes))).toBe(tenant!.logicalBytes)
      const between = [...new Set(images.flatMap(({ chunks }) => chunks))].filter(
        (chunk) =>
          new Set(images.filter(({ chunks }) => chunks.includes(chunk)).map(({ machine }) => machine)).size > 1,
      )
      expect(tenant!.storedBytes).toBe(sum(machines.map(({ storedBytes }) => storedBytes)) + sum(between.map(storedOf)))
      expect(tenant!.uniqueBytes).toBe(sum(machines.map((row) => row.uniqueBytes)) + between.length * CHUNK_BYTES)
      for (const { machine, storedBytes } of machines) {
        const disks = rows.filter((row) => row.scope === 'disk' && row.machine === machine)
        expect(sum(disks.map((row) => row.storedBytes))).toBeLessThanOrEqual(storedBytes)
      }
    }),
  )
})

test('one machine alone keeps the figures it has beside the others', () => {
  fc.assert(
    fc.property(world, (images) => {
      const all = report(images)
      const { machine } = images[0]!
      const wanted = report(images, { machine, points: false })
      expect(wanted).toEqual([all[0], ...all.filter((row) => row.machine === machine && row.scope !== 'point')])
    }),
  )
})

test('a tenant without restore points has one row of nothing', () => {
  expect(usageRows({ images: [], points: [], lattice: new Lattice([]), owners: new Map() }, { points: true })).toEqual([
    expect.objectContaining({ scope: 'tenant', points: 0, usedBytes: 0, storedBytes: 0 }),
  ])
})

test('of rows that are too many the newest points stay, in the report’s order, then what comes first', () => {
  const row = (scope: UsageRow['scope'], name: string, timeMs: number | null = null): UsageRow => ({
    scope,
    machine: name,
    disk: null,
    point: null,
    timeMs,
    points: 1,
    logicalBytes: 0,
    usedBytes: 0,
    uniqueBytes: 0,
    sharedBytes: 0,
    storedBytes: 0,
  })
  const rows = [
    row('tenant', ''),
    row('machine', 'a'),
    row('point', 'a1', 1),
    row('point', 'a2', 5),
    row('machine', 'b'),
    row('point', 'b1', 2),
    row('point', 'b2', 4),
  ]
  const fitting = (max: number): string[] => fittingRows(rows, max).map(({ machine }) => machine)
  expect(fittingRows(rows, 7)).toEqual(rows)
  expect(fitting(6)).toEqual(['', 'a', 'a2', 'b', 'b1', 'b2'])
  expect(fitting(5)).toEqual(['', 'a', 'a2', 'b', 'b2'])
  expect(fitting(3)).toEqual(['', 'a', 'b'])
  expect(fitting(2)).toEqual(['', 'a'])
})
