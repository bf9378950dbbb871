// What the datastore's tests share: a datastore in a folder of its own, tenants, uploads, and batches of chunks.
import type { Tenant } from '../../../gateway/catalog/tenants.ts'
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { VarveError } from '../../../protocol/errors.ts'
import { nodeKey, TreeBuilder, type NewNode, type Ref, type TreeNode } from '../../../protocol/image-tree.ts'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { CATALOG_NAME, Datastore, type DatastoreOptions } from '../../../gateway/datastore/datastore.ts'
import type { ImageProgress } from '../../../gateway/datastore/upload-writer.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import type { ManifestContent } from '../../../gateway/catalog/manifest.ts'
import type { TenantStore } from '../../../gateway/datastore/tenant-store.ts'
import type { DatastoreLog } from '../../../gateway/common/log.ts'
import { addAgent, addMachine, beginJob, fullDisk, startJob } from '../catalog.ts'
import { joinChunks, wireChunk, type JoinedChunks } from '../../protocol/wire-chunks.ts'

/** Chunk size of the tests' tenants, in bytes: the smallest, so that trees get deep cheaply. */
export const CHUNK_BYTES = 4096

export interface TemporaryFolder extends AsyncDisposable {
  readonly path: string
}

export const temporaryFolder = async (): Promise<TemporaryFolder> => {
  const folder = await mkdtemp(path.join(tmpdir(), 'varve-datastore-'))
  return { path: folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) }
}

/** A logger that keeps its lines. */
export const memoryLog = (): DatastoreLog & {
  readonly lines: { level: string; fields: unknown; message: string }[]
} => {
  const lines: { level: string; fields: unknown; message: string }[] = []
  const at = (level: string) => (fields: unknown, message: string) => void lines.push({ level, fields, message })
  return { lines, info: at('info'), warn: at('warn'), error: at('error') }
}

export const openDatastore = (
  folder: string,
  log: DatastoreLog = memoryLog(),
  rest: Partial<DatastoreOptions> = {},
): Promise<Datastore> => Datastore.open({ folder, log, threads: 2, ...rest })

export const addTenant = (datastore: Datastore, name: string, chunkBytes = CHUNK_BYTES): Promise<Tenant> =>
  datastore.catalog.tenants.add({
    name,
    id: randomUUID(),
    idKey: new Uint8Array(randomBytes(32)),
    chunkBytes,
    nowMs: 1,
  })

/** Has a job of a machine of its own begin with one disk, beside the open datastore; returns what openWriter takes. */
export const addUpload = async (
  folder: string,
  tenant: Tenant,
  disk = 'vda',
): Promise<{ job: string; disk: string; machine: string; agent: string }> => {
  using catalog = openLocal(path.join(folder, CATALOG_NAME))
  const agent = await addAgent(catalog, tenant)
  const machine = await addMachine(catalog, tenant, agent, `machine-${randomUUID()}`)
  const job = await startJob(catalog, tenant, machine)
  await beginJob(catalog, { id: job, agent }, [fullDisk(disk, CHUNK_BYTES)])
  return { job, disk, machine: machine.name, agent }
}

/** Random bytes in which a part compresses. */
export const plainChunk = (): Uint8Array => {
  const plain = new Uint8Array(randomBytes(CHUNK_BYTES))
  return plain[0]! % 2 === 0 ? plain.fill(7, 100) : plain
}

export const chunkId = (tenant: Tenant, plain: Uint8Array): Uint8Array => keyedHash(tenant.idKey, plain)

/** A batch as an agent sends it. */
export const batchOf = (tenant: Tenant, plains: readonly Uint8Array[]): JoinedChunks =>
  joinChunks(plains.map((plain) => wireChunk(chunkId(tenant, plain), plain)))

export const progressAt = (position: number, rest: Partial<ImageProgress> = {}): ImageProgress => ({
  position,
  state: new Uint8Array([1, 2, 3]),
  bytesSent: position,
  changedBytes: 0,
  finished: false,
  root: null,
  ...rest,
})

/** The image tree over these refs (a chunk id, or null for a zero chunk). */
export const treeOf = (tenant: Tenant, refs: readonly Ref[]): { root: Ref; nodes: NewNode[] } => {
  const nodes: NewNode[] = []
  const key = nodeKey(keyedHash, tenant.idKey)
  const builder = new TreeBuilder({
    chunks: refs.length,
    hash: keyedHash,
    nodeKey: key,
    onNode: (node) => void nodes.push(node),
  })
  for (const ref of refs) builder.place(0, ref)
  return { root: builder.finish(), nodes }
}

/** A manifest of a restore point without disks. */
export const newManifest = (rest: Partial<ManifestContent> = {}): ManifestContent => ({
  point: randomUUID(),
  machine: 'machine',
  agent: randomUUID(),
  base: null,
  timeMs: 1,
  kind: 'full',
  reason: 'first',
  consistency: 'crash',
  note: null,
  configuration: '{}',
  bytesRead: 0,
  bytesSent: 0,
  bytesStored: 0,
  durationMs: 0,
  took: null,
  committedMs: 1,
  lockedUntilMs: null,
  seq: 0,
  job: { subject: 'test', full: false, compare: false, startedMs: 1 },
  leftOut: [],
  checkpoint: true,
  disks: [],
  attachments: [],
  missing: [],
  ...rest,
})

export const collect = async <T>(items: AsyncIterable<T>): Promise<T[]> => {
  const list: T[] = []
  for await (const item of items) list.push(item)
  return list
}

/** Opens and closes again what is only needed to have been there. */
export const touch = async (opened: Promise<AsyncDisposable>): Promise<void> => (await opened)[Symbol.asyncDispose]()

/** A tree node of any level as it lies in its pack. DATA_DAMAGED. */
export const nodeOf = async ({ nodes }: TenantStore, id: Uint8Array): Promise<TreeNode> => {
  const [node] = await nodes.fresh([id], null)
  if (node instanceof VarveError) throw node
  return node!
}
