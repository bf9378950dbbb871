// An agent of the second client: it enrols, serves, uploads images as they are asked for and downloads them again.
import { randomUUID } from 'node:crypto'
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey } from 'jose'
import { Connection, PeerError, type Call, type Wishes } from './connection.ts'
import { chunksMessage, chunksOf, idsOf, keyed, plainOf, rootOf, TOGETHER } from './image.ts'

const [ZERO, IDS] = [0, 2]
const [HAVE, WANT, PROVE] = [0, 1, 2] as const
const ANSWERS = [HAVE, WANT, PROVE] as const

/** Ids of one message at most. */
const IDS_MAX = 1024

export interface Enrolled {
  readonly agentId: string
  readonly issuer: string
  readonly privateKey: CryptoKey
}

/** What `POST /enrol` answers; its error's code where it refuses. */
export const postEnrol = async (httpUrl: string, body: Record<string, unknown>): Promise<Record<string, string>> => {
  const response = await fetch(`${httpUrl}/enrol`, { method: 'POST', body: JSON.stringify(body) })
  const answer = (await response.json()) as Record<string, string>
  if (!response.ok) throw new PeerError(String(answer['code']), String(answer['message']))
  return answer
}

export const newKey = async (): Promise<{ publicKey: CryptoKey; privateKey: CryptoKey; x: string }> => {
  const { publicKey, privateKey } = await generateKeyPair('EdDSA', { crv: 'Ed25519', extractable: true })
  const { x } = await exportJWK(publicKey)
  return { publicKey, privateKey, x: x! }
}

export const enrol = async (httpUrl: string, token: string): Promise<Enrolled> => {
  const { privateKey, x } = await newKey()
  const { agentId, issuer } = await postEnrol(httpUrl, { token, publicKey: x, host: 'elsewhere' })
  return { agentId: agentId!, issuer: issuer!, privateKey }
}

/** An assertion with these claims in place of the usual ones; null takes a claim out. */
export const assertion = async (
  { agentId, issuer, privateKey }: Enrolled,
  other: Readonly<Record<string, string | number | null>> = {},
): Promise<string> => {
  const iat = Math.floor(Date.now() / 1000)
  const claims = { iss: agentId, sub: agentId, aud: issuer, jti: randomUUID(), iat, exp: iat + 300, ...other }
  const said = Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== null))
  return await new SignJWT(said).setProtectedHeader({ alg: 'EdDSA', typ: 'varve-agent+jwt' }).sign(privateKey)
}

/** What `agent.backup` said of a job. */
interface Job {
  readonly job: string
  readonly idKey: Uint8Array
  readonly chunkBytes: number
}

/** How many ids the gateway answered with have, want and prove. */
export type Answers = [have: number, want: number, prove: number]

/** Zero runs and ids of at most IDS_MAX chunks from `from` on. */
const runsFrom = (ids: readonly (Uint8Array | null)[], from: number): { runs: unknown[]; to: number } => {
  const to = Math.min(ids.length, from + IDS_MAX)
  const runs: unknown[] = []
  for (let at = from; at < to;) {
    const zero = ids[at] === null
    let end = at
    while (end < to && (ids[end] === null) === zero) end++
    const present = ids.slice(at, end).filter((id) => id !== null)
    runs.push(zero ? [ZERO, end - at] : [IDS, Uint8Array.from(Buffer.concat(present))])
    at = end
  }
  return { runs, to }
}

/** A serving agent with these machines. */
export class SecondAgent {
  readonly connection: Connection
  readonly #jobs = new Map<string, Job>()

  constructor(wishes: Omit<Wishes, 'serving' | 'serve'>) {
    const serve = (method: string, params: Record<string, unknown>): Record<string, unknown> => {
      if (method !== 'agent.backup') throw new PeerError('METHOD_UNKNOWN', `no ${method} here`)
      this.#jobs.set(String(params['machine']), params as unknown as Job)
      return {}
    }
    this.connection = new Connection({ ...wishes, serving: true, serve })
  }

  /** Backs a machine up that has these disks; the restore point, the roots that the gateway found, and what it answered. */
  async backup(
    machine: string,
    images: Readonly<Record<string, Uint8Array>>,
  ): Promise<{ point: string; roots: (Uint8Array | null)[]; answers: Answers; idKey: Uint8Array }> {
    const { connection } = this
    await connection.call('backup.start', { machine, full: true })
    const { job, idKey, chunkBytes } = this.#jobs.get(machine)!
    const disks = Object.entries(images).map(([name, image]) => ({
      name,
      size: image.length,
      kind: 'full',
      reason: 'first',
      base: null,
      evidence: '',
      comparedChunks: 0,
    }))
    await connection.call('backup.begin', {
      job,
      timeMs: Date.now(),
      consistency: 'crash',
      note: null,
      configuration: '{}',
      leftOut: [],
      disks,
    })
    const roots: (Uint8Array | null)[] = []
    const answers: Answers = [0, 0, 0]
    for (const [disk, image] of Object.entries(images)) {
      const chunks = chunksOf(image, chunkBytes)
      const call = connection.open('image.upload', { job, disk })
      await this.#upload(call, chunks, idsOf(chunks, idKey), answers)
      roots.push((await call.result)['root'] as Uint8Array | null)
    }
    const bytesRead = Object.values(images).reduce((sum, image) => sum + image.length, 0)
    const { point } = await connection.call('backup.commit', { job, bytesRead })
    await connection.call('backup.released', { job })
    return { point: String(point), roots, answers, idKey }
  }

  async #upload(
    call: Call,
    chunks: readonly Uint8Array[],
    ids: readonly (Uint8Array | null)[],
    counts: Answers,
  ): Promise<void> {
    const [, start] = (await this.#next(call, 0)) as [number, { position: number; proofKey: Uint8Array }]
    for (let from = start.position; from < ids.length;) {
      const { runs, to } = runsFrom(ids, from)
      await call.send([0, runs])
      const present = Array.from({ length: to - from }, (_, at) => from + at).filter((at) => ids[at] !== null)
      const [, answers] = (await this.#next(call, 1)) as [number, Uint8Array]
      const answered = (answer: number): { id: Uint8Array; plain: Uint8Array }[] =>
        present.filter((_, at) => answers[at] === answer).map((at) => ({ id: ids[at]!, plain: chunks[at]! }))
      for (const answer of ANSWERS) counts[answer] += answered(answer).length
      // each bundle alone: a message must fit a frame, and its size is not known before
      const wanted = answered(WANT)
      for (let at = 0; at < wanted.length; at += TOGETHER)
        await call.send([1, ...chunksMessage(wanted.slice(at, at + TOGETHER))])
      const toProve = answered(PROVE)
      if (toProve.length > 0) {
        await call.send([2, toProve.map(({ id, plain }) => [id, keyed(start.proofKey, plain)])])
        const [, verdicts] = (await this.#next(call, 2)) as [number, Uint8Array]
        if (verdicts.some((verdict) => verdict !== 0)) throw new Error('a proof was not accepted')
      }
      from = to
    }
    call.end()
  }

  /** The next message of this kind; those that say what is durable may come between. */
  async #next(call: Call, kind: number): Promise<readonly unknown[]> {
    for (;;) {
      const message = await call.take()
      if (message === null) throw new Error(`the stream ended before a message of kind ${kind}`)
      if (message[0] === kind) return message
      if (message[0] !== 3) throw new Error(`a message of kind ${String(message[0])} in place of ${kind}`)
    }
  }
}

/** An image from the chunk `position` on, with what the gateway says of it; checked where it is whole. */
export const download = async (
  connection: Connection,
  wish: { readonly point: string; readonly disk: string; readonly position?: number },
): Promise<{ bytes: Uint8Array; root: Uint8Array | null; size: number }> => {
  const position = wish.position ?? 0
  const call = connection.open('image.download', { ...wish, position, skipDamaged: false })
  const first = await call.take()
  if (first === null) await call.result
  const [, { size, chunkBytes, root, idKey }] = first as [
    number,
    { size: number; chunkBytes: number; root: Uint8Array | null; idKey: Uint8Array },
  ]
  const chunks: Uint8Array[] = []
  for (let message = await call.take(); message !== null; message = await call.take()) {
    const [kind, value, stored] = message as [number, number | Uint8Array, Uint8Array]
    if (kind === 2) chunks.push(...plainOf(value as Uint8Array, stored, idKey))
    else
      for (let left = value as number; left > 0; left--) {
        const from = (position + chunks.length) * chunkBytes
        chunks.push(new Uint8Array(Math.min(chunkBytes, size - from)))
      }
  }
  await call.result
  if (position === 0) {
    const computed = rootOf(idsOf(chunks, idKey), idKey)
    if (Buffer.compare(computed ?? Buffer.of(), root ?? Buffer.of()) !== 0) throw new Error('the root is another')
  }
  return { bytes: Uint8Array.from(Buffer.concat(chunks)), root, size }
}
