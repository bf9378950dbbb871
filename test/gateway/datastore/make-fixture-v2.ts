// Makes the datastore that every later version must open: `node test/gateway/datastore/make-fixture-v2.ts`; to be run again
// only while version 2 is not released.
import { createHash, randomUUID } from 'node:crypto'
import { cp, mkdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { CATALOG_NAME } from '../../../gateway/datastore/datastore.ts'
import { hex } from '../../../protocol/chunk.ts'
import { compactCatalog, forgetPoints } from '../../support/catalog-damage.ts'
import { Dice } from '../../support/model-dice.ts'
import { revokeAgent, setPlan, startJob } from '../catalog.ts'
import { Stand, type Plains } from '../chains/script.ts'
import { CHUNK_BYTES } from './fixture.ts'

/** One image as the test expects it. */
export interface ExpectedImage {
  readonly point: string
  readonly machine: string
  readonly disk: string
  readonly size: number
  /** Hex; null for an image of zeroes. */
  readonly root: string | null
  /** Of the whole image. */
  readonly sha256: string
  readonly held: boolean
  readonly lockedUntilMs: number | null
}

export interface Expected {
  readonly tenant: string
  readonly chunkBytes: number
  readonly images: readonly ExpectedImage[]
  /** Restore points that were pruned, whose manifests are still in the packs. */
  readonly pruned: readonly string[]
}

const LOCKED_UNTIL_MS = 4_102_444_800_000

const dice = new Dice(1)
const target = path.join(import.meta.dirname, 'fixtures', 'v2')
const chunk = (): Uint8Array =>
  dice.below(2) === 0 ? dice.bytes(CHUNK_BYTES) : Buffer.alloc(CHUNK_BYTES, dice.below(256))

await using stand = await Stand.open()
stand.together = 4
const { catalog } = stand.datastore
const tenant = stand.tenant.id
const images: { point: string; machine: string; root: Uint8Array | null; plains: Plains }[] = []
await catalog.settings.init({ name: 'gateway', value: randomUUID() })
const [db, web, old] = [await stand.machine('db1'), await stand.machine('web1'), await stand.machine('old1')]

const add = async (machine: typeof db, plains: Plains, nowMs: number): Promise<string> => {
  const { id, root } = await stand.point(machine, plains, nowMs)
  images.push({ point: id, machine: machine.name, root, plains })
  return id
}
const disk: Plains = [
  ...Array.from({ length: 20 }, chunk),
  ...Array<null>(30).fill(null),
  ...Array.from({ length: 10 }, chunk),
]
const pruned = await add(db, disk, 1000)
const held = await add(db, disk.with(3, chunk()).with(55, null), 2000)
const locked = await add(web, [...disk.slice(0, 10), dice.bytes(1024)], 3000)
await add(old, Array<null>(64).fill(null), 4000)
await catalog.points.hold({ tenant, id: held, held: true })
await catalog.points.lock({ tenant, id: locked, untilMs: LOCKED_UNTIL_MS })
await catalog.machines.setGroup({ tenant, name: 'db1', group: 'databases' })
await setPlan(catalog, stand.tenant, 'group-databases', { keep: { last: 3 } }, { groups: ['databases'] })
await revokeAgent(catalog, stand.tenant, old.agent)
forgetPoints(stand.folder, [pruned])
await catalog.audit.appendAll({
  records: [
    {
      timeMs: 5000,
      tenant,
      subject: 'local',
      role: 'platform',
      action: 'points.prune',
      resource: pruned,
      outcome: 'ok',
      details: {},
    },
  ],
})
await stand.datastore.tenantStore(stand.tenant).writeState()
await add(db, disk.with(7, chunk()), 6000)
await startJob(catalog, stand.tenant, web, { nowMs: 7000 })
const rows = await Promise.all(
  images
    .filter(({ point }) => point !== pruned)
    .map(async ({ point, machine, root, plains }): Promise<ExpectedImage> => {
      const stored = await catalog.points.find({ tenant, agent: null, prefix: point })
      const { size } = stored.disks[0]!
      const sha256 = createHash('sha256')
      for (const plain of plains) sha256.update(plain ?? Buffer.alloc(CHUNK_BYTES))
      const { lockedUntilMs } = stored
      return {
        point,
        machine,
        disk: 'vda',
        size,
        root: root && hex(root),
        sha256: sha256.digest('hex'),
        held: stored.held,
        lockedUntilMs,
      }
    }),
)
await stand.datastore[Symbol.asyncDispose]()
compactCatalog(stand.folder)
await rm(target, { recursive: true, force: true })
await mkdir(target, { recursive: true })
await cp(path.join(stand.folder, CATALOG_NAME), path.join(target, CATALOG_NAME))
await cp(path.join(stand.folder, 'packs'), path.join(target, 'packs'), { recursive: true })
const expected: Expected = { tenant: stand.tenant.name, chunkBytes: CHUNK_BYTES, images: rows, pruned: [pruned] }
await writeFile(path.join(target, 'expected.json'), `${JSON.stringify(expected, null, 2)}\n`)
