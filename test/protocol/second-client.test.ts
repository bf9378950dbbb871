// A client that knows the protocol from PROTOCOL.md and METHODS.md alone, against a real gateway.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { exportSPKI } from 'jose'
import { WebSocket } from 'ws'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { tempFolder, type TempFolder } from '../support/temp.ts'
import { assertion, download, enrol, newKey, postEnrol, SecondAgent, type Enrolled } from './second-client/agent.ts'
import { Connection, type PeerError } from './second-client/connection.ts'
import { chunksOf, idsOf, rootOf } from './second-client/image.ts'
import { pack } from './second-client/msgpack.ts'

const CHUNK_BYTES = 64 * 1024
const SECTOR_BYTES = 512

let temp: TempFolder
let gateway: TestGateway

beforeAll(async () => {
  temp = await tempFolder()
  gateway = await startGateway({ folder: temp.join('data') })
})

afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await temp[Symbol.asyncDispose]()
})

/** Bytes that no compression makes shorter, the same for each seed. */
const noise = (bytes: number, seed: number): Buffer => {
  const buffer = Buffer.alloc(bytes)
  let state = seed
  for (let at = 0; at < bytes; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    buffer[at] = state >>> 24
  }
  return buffer
}

/** 70 chunks and a short one, mostly zeroes: noise, text, a repeated chunk, and content up to the last sector. */
const image = (): Buffer => {
  const bytes = Buffer.alloc(70 * CHUNK_BYTES + 3 * SECTOR_BYTES)
  noise(CHUNK_BYTES, 1).copy(bytes, 2 * CHUNK_BYTES)
  noise(CHUNK_BYTES, 1).copy(bytes, 66 * CHUNK_BYTES)
  bytes.fill('what a database writes ', 5 * CHUNK_BYTES + 100, 8 * CHUNK_BYTES)
  noise(2 * SECTOR_BYTES, 2).copy(bytes, bytes.length - 2 * SECTOR_BYTES)
  return bytes
}

const codeOf = async (refused: Promise<unknown>): Promise<string> => {
  try {
    await refused
    return 'none'
  } catch (thrown) {
    return (thrown as PeerError).code
  }
}

const newAgent = async (): Promise<Enrolled> => enrol(gateway.httpUrl, await gateway.enrolmentToken())

const serving = async (
  enrolled: Enrolled,
  machines: readonly string[],
  integers: 'int64' | 'float64' = 'int64',
): Promise<SecondAgent> => {
  const agent = new SecondAgent({ url: gateway.url, token: await assertion(enrolled), integers })
  await agent.connection.welcome
  await agent.connection.call('agent.inventory', {
    host: 'elsewhere',
    machines: machines.map((name) => ({ name, uuid: null, here: true })),
    jobs: [],
  })
  return agent
}

test('imports nothing of the product', () => {
  const folder = path.join(import.meta.dirname, 'second-client')
  for (const file of readdirSync(folder)) {
    const outside = [...readFileSync(path.join(folder, file), 'utf8').matchAll(/from '(\.\.\/[^']+)'/gu)]
    expect(
      outside.map(([, specifier]) => specifier),
      file,
    ).toEqual([])
  }
})

describe.each(['int64', 'float64'] as const)('with whole numbers as %s', (integers) => {
  test('enrols, backs two machines up, lists and downloads them', async () => {
    const [one, other] = [`one-${integers}`, `other-${integers}`]
    const content = image()
    // what only this run's tenant has: the second round must not find the first one's chunks
    content.write(integers, 40 * CHUNK_BYTES)
    const agent = await serving(await newAgent(), [one, other], integers)
    await using connection = agent.connection
    const first = await agent.backup(one, { vda: content, empty: new Uint8Array(9 * CHUNK_BYTES) })
    const root = rootOf(idsOf(chunksOf(content, CHUNK_BYTES), first.idKey), first.idKey)
    expect(first.roots.map((found) => found && Buffer.from(found).toString('hex'))).toEqual([
      Buffer.from(root!).toString('hex'),
      null,
    ])
    expect(first.answers[1]).toBeGreaterThan(0)

    // the same content from another machine: possession is proved, nothing is sent
    const second = await agent.backup(other, { vda: content })
    expect(second.answers[1]).toBe(0)
    expect(second.answers[2]).toBeGreaterThan(0)
    expect(second.roots).toEqual([first.roots[0]])

    const { points } = await connection.call('points.list', { machine: null, limit: 250 })
    expect((points as { id: string }[]).map(({ id }) => id).toSorted()).toEqual([first.point, second.point].toSorted())
    for (const { point } of [first, second]) {
      const { bytes, size } = await download(connection, { point, disk: 'vda' })
      expect(size).toBe(content.length)
      expect(Buffer.compare(bytes, content)).toBe(0)
    }
    const empty = await download(connection, { point: first.point, disk: 'empty' })
    expect(empty.root).toBe(null)
    expect(empty.bytes.every((byte) => byte === 0)).toBe(true)
    const rest = await download(connection, { point: first.point, disk: 'vda', position: 66 })
    expect(Buffer.compare(rest.bytes, content.subarray(66 * CHUNK_BYTES))).toBe(0)
  })
})

describe('what is said of enrolment', () => {
  test('a token enrols once; the key is 32 bytes in base64url, nothing else', async () => {
    const token = await gateway.enrolmentToken()
    const { publicKey, x } = await newKey()
    const host = 'elsewhere'
    const others = [await exportSPKI(publicKey), Buffer.from(x, 'base64url').toString('hex'), `${x}=`, '']
    for (const wrong of others)
      expect(await codeOf(postEnrol(gateway.httpUrl, { token, publicKey: wrong, host }))).toBe('PARAMS_INVALID')
    await postEnrol(gateway.httpUrl, { token, publicKey: x, host })
    expect(await codeOf(postEnrol(gateway.httpUrl, { token, publicKey: x, host }))).toBe('ENROLMENT_USED')
  })

  test('who has no good token learns nothing of what else is wrong', async () => {
    const asked = { token: 'a.b.c', publicKey: '', host: '' }
    expect(await codeOf(postEnrol(gateway.httpUrl, asked))).toBe('TOKEN_MALFORMED')
  })
})

describe('what is said of assertions', () => {
  const opened = async (enrolled: Enrolled, other: Record<string, string | number | null>): Promise<string> => {
    await using connection = new Connection({ url: gateway.url, token: await assertion(enrolled, other) })
    return await codeOf(connection.welcome)
  }

  test('each claim but nbf is needed, with its own leeway', async () => {
    const enrolled = await newAgent()
    const now = Math.floor(Date.now() / 1000)
    for (const claim of ['sub', 'jti', 'iat', 'exp'])
      expect(await opened(enrolled, { [claim]: null }), claim).toBe('TOKEN_CLAIMS')
    expect(await opened(enrolled, { iss: null })).toBe('TOKEN_ISSUER')
    expect(await opened(enrolled, { aud: null })).toBe('TOKEN_AUDIENCE')
    expect(await opened(enrolled, { jti: 'no uuid' })).toBe('TOKEN_CLAIMS')
    expect(await opened(enrolled, { iat: now + 600, exp: now + 590 })).toBe('TOKEN_NOT_YET_VALID')
    expect(await opened(enrolled, { nbf: now + 600 })).toBe('TOKEN_NOT_YET_VALID')
    expect(await opened(enrolled, { iat: now + 10, exp: now + 310 })).toBe('none')
    expect(await opened(enrolled, { exp: now })).toBe('TOKEN_EXPIRED')
    expect(await opened(enrolled, { exp: now + 3600 })).toBe('TOKEN_CLAIMS')
    // old is no fault: only the end counts
    expect(await opened(enrolled, { iat: now - 100_000 })).toBe('none')
  })

  test('one is good as often as it is shown until it expires', async () => {
    const token = await assertion(await newAgent())
    for (let round = 0; round < 2; round++) {
      await using connection = new Connection({ url: gateway.url, token })
      expect(await connection.welcome).toMatchObject({ role: 'agent', version: 1 })
    }
  })
})

describe('what is said of the order of checks', () => {
  const upgrade = (target: string, protocol: string, token: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(`${gateway.url}${target}`, protocol, {
        headers: { authorization: `Bearer ${token}` },
      })
      socket.on('unexpected-response', (_request, response) => {
        let text = ''
        response.on('data', (part: Buffer) => (text += part.toString()))
        response.on('end', () => resolve((JSON.parse(text) as { code: string }).code))
      })
      socket.on('open', () => reject(new Error('it was let in')))
      socket.on('error', reject)
    })

  test('an upgrade: path, subprotocol, token', async () => {
    expect(await upgrade('/elsewhere', 'other', 'x')).toBe('NOT_FOUND')
    expect(await upgrade('/rpc', 'other', 'x')).toBe('VERSION_UNSUPPORTED')
    expect(await upgrade('/rpc', 'varve.v1', 'x')).toBe('TOKEN_MALFORMED')
  })

  test('a call: its method, its parameters, the role, and then what it is about', async () => {
    await using connection = new Connection({ url: gateway.url, token: await gateway.tokenFor('viewer') })
    await connection.welcome
    expect(await codeOf(connection.call('no.method', {}))).toBe('METHOD_UNKNOWN')
    expect(await codeOf(connection.call('agent.backup', {}))).toBe('METHOD_UNKNOWN')
    expect(await codeOf(connection.call('machines.assign', { machine: '/' }))).toBe('PARAMS_INVALID')
    const assign = { machine: 'nowhere', agent: '0192aaaa-0000-4000-8000-0000c0ffee42' }
    expect(await codeOf(connection.call('machines.assign', assign))).toBe('ROLE_FORBIDDEN')
    expect(await codeOf(connection.call('machines.status', { machine: 'nowhere' }))).toBe('NOT_FOUND')
  })

  test('an id comes before everything else of a request', async () => {
    await using connection = new Connection({ url: gateway.url, token: await gateway.tokenFor('viewer') })
    await connection.welcome
    await connection.call('machines.list', {})
    connection.send([3, 1, 'no.method', {}, 0])
    expect((await connection.ended).code).toBe('ID_REUSED')
  })
})

test('a key that is twice in its map ends the connection', async () => {
  await using connection = new Connection({ url: gateway.url, token: await gateway.tokenFor('viewer') })
  await connection.welcome
  // [10, 1] with a further field, which alone would be ignored: a map that says "a" twice
  const ping = pack([10, 1, { a: 1, b: 2 }])
  ping[ping.lastIndexOf(0x62)] = 0x61
  connection.sendBytes(ping)
  expect((await connection.ended).code).toBe('FRAME_INVALID')
})
