// Serves reads at any places of one image, many on one call: tree nodes, from which the caller proves what it gets, and chunks.
import { chunkCount } from '../../protocol/chunk.ts'
import { asVarveError, VarveError } from '../../protocol/errors.ts'
import { childSpan, encodeNode, rootLevel, type Ref, type TreeNode } from '../../protocol/image-tree.ts'
import { READ_PLAIN_BYTES_MAX, READS_AT_ONCE_MAX } from '../../protocol/limits.ts'
import { orAbort } from '../../protocol/host/within.ts'
import { freeBytes } from '../../protocol/memory.ts'
import { ASK, FOUND, type Down, type Params, type Up } from '../../protocol/methods.ts'
import type { ServedCall } from '../../protocol/peer.ts'
import type { AttachmentRow } from '../catalog/points.ts'
import type { Tenant } from '../catalog/tenants.ts'
import type { Datastore } from '../datastore/datastore.ts'
import { readBytesFor } from '../datastore/stored-chunks.ts'
import type { TenantStore } from '../datastore/tenant-store.ts'
import type { Account } from '../memory/budget.ts'
import { MESSAGE_OVERHEAD_BYTES, NODE_READ_BYTES } from '../memory/limits.ts'
import { childrenOf, walk, wholeTree } from '../trees/walk.ts'
import { imageOf } from './serve-download.ts'

interface Request {
  readonly datastore: Datastore
  readonly tenant: Tenant
  /** The agent that a caller of this role is confined to, else null. */
  readonly onlyAgent: string | null
  readonly params: Params<'image.read'>
  readonly account: Pick<Account, 'admit'>
  readonly call: Pick<ServedCall<'image.read'>, 'messages' | 'sendHeld' | 'signal'>
  /** Resolves when the audit log has it that the image is being read. */
  readonly begun: () => Promise<void>
}

type Asked = Up<'image.read'>
type Answer = Exclude<Down<'image.read'>, [typeof FOUND.start, unknown]>

interface Image {
  readonly store: TenantStore
  readonly root: Ref
  readonly chunks: number
  readonly chunkBytes: number
}

interface Range {
  readonly level: number
  /** First chunk, and the one behind the last. */
  readonly from: number
  readonly end: number
}

/** The nodes of one level that have chunks of a range, from left to right; DATA_DAMAGED. */
const nodesIn = async ({ store, root, chunks }: Image, { level, from, end }: Range): Promise<[number, TreeNode][]> => {
  const enter = (_: Uint8Array, at: number, position: number): boolean =>
    at >= level && position < end && position + childSpan(at + 1) > from
  const found: [number, TreeNode][] = []
  for await (const { level: at, position, node } of walk(wholeTree(root), rootLevel(chunks), {
    read: store.nodes.cached,
    enter,
  })) {
    if (node instanceof VarveError) throw node
    if (at === level) found.push([position, node])
  }
  return found
}

/** What a request may ask for; STREAM_INVALID. */
const rangeOf = (asked: Asked, { chunks, chunkBytes }: Image): Range => {
  const [level, from, count] = asked[0] === ASK.nodes ? [asked[2], asked[3], asked[4]] : [0, asked[2], asked[3]]
  const span = asked[0] === ASK.nodes ? childSpan(level + 1) : 1
  const fits = asked[0] === ASK.nodes || count === 1 || count * chunkBytes <= READ_PLAIN_BYTES_MAX
  if (level > rootLevel(chunks) || from >= chunks || from % span !== 0 || !fits)
    throw new VarveError('STREAM_INVALID', 'a read asks for what the image does not have, or for too much at once')
  return { level, from, end: from + count * span }
}

const answerOf = async (asked: Asked, range: Range, image: Image): Promise<Answer> => {
  const nodes = await nodesIn(image, range)
  const [kind, number] = asked
  if (kind === ASK.nodes)
    return [FOUND.nodes, number, nodes.map(([, { level, children }]) => encodeNode(level, children))]
  const ids = nodes
    .flatMap(([position, node]) => [...childrenOf(node, position)])
    .filter(({ position }) => position >= range.from && position < range.end)
    .map(({ id }) => id)
  if (ids.length === 0) return [FOUND.chunks, number, new Uint8Array(0), new Uint8Array(0)]
  const { heads, stored } = await image.store.readStored(ids)
  return [FOUND.chunks, number, heads, stored]
}

/** Memory that the answer takes until it is sent, in bytes: packs as they are read, and what is made of them. */
const memoryOf = (asked: Asked, { chunkBytes }: Image): number =>
  asked[0] === ASK.nodes ? asked[4] * NODE_READ_BYTES : 2 * readBytesFor(asked[3], chunkBytes) + MESSAGE_OVERHEAD_BYTES

/** Errors of one request: what it asks for cannot be read, and others may be. */
const failed = (number: number, { code, message }: VarveError): Answer => [FOUND.failed, number, { code, message }]

/**
 * Answers requests until the caller ends them, READS_AT_ONCE_MAX at a time and in any order; NOT_FOUND, STREAM_INVALID. Damage is
 * the answer of the request that comes upon it.
 */
export const serveReads = async (request: Request): Promise<void> => {
  const { datastore, tenant, onlyAgent, params, account, call, begun } = request
  const { idKey, chunkBytes } = tenant
  const store = datastore.tenantStore(tenant)
  const find = async (): Promise<AttachmentRow> =>
    imageOf(
      await datastore.catalog.points.find({ tenant: tenant.id, agent: onlyAgent, prefix: params.point }),
      params.disk,
    )
  const { root, size } = await find()
  const chunks = chunkCount(size, chunkBytes)
  using _held = store.references.hold({ tree: { root, chunks } })
  // a collection that began before may have removed what a prune released meanwhile
  await find()
  const image: Image = { store, root, chunks, chunkBytes }
  const answer = async (asked: Asked, range: Range): Promise<void> => {
    using _memory = await account.admit(memoryOf(asked, image), call.signal)
    const message = await answerOf(asked, range, image).catch(async (thrown: unknown) => {
      const error = asVarveError(thrown)
      if (error.code !== 'DATA_DAMAGED') throw thrown
      await store.quarantine.enterError(error)
      return failed(asked[1], error)
    })
    const sent = call.sendHeld(message)
    // the frame owns them now
    if (message[0] === FOUND.chunks) freeBytes(message[3])
    await sent
  }
  await begun()
  await call.sendHeld([FOUND.start, { size, chunkBytes, root, idKey }])
  const running = new Set<Promise<unknown>>()
  const broken = new AbortController()
  const asked = call.messages[Symbol.asyncIterator]()
  try {
    for (;;) {
      // what fails for another reason than damage ends the call
      const next = await orAbort(asked.next(), broken.signal)
      if (next.done === true) break
      const range = rangeOf(next.value, image)
      const work: Promise<unknown> = answer(next.value, range)
        .catch((thrown: unknown) => broken.abort(thrown))
        .finally(() => running.delete(work))
      running.add(work)
      if (running.size >= READS_AT_ONCE_MAX) await Promise.race(running)
    }
    await orAbort(Promise.all(running), broken.signal)
  } finally {
    await Promise.all(running)
  }
}
