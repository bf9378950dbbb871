// A lease that copies: outlives a broken connection if all of it is still there, and gives up before scratch space runs out.
import { expect, test } from 'vitest'
import { CopyingLease, type CopyingEntry, type LeaseCaller } from '../../../agent/drivers/copying-lease.ts'
import type { ScratchGuard } from '../../../agent/drivers/scratch-guard.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { exampleEntry } from '../../support/journal-entry.ts'
import { tempFolder } from '../../support/temp.ts'

const BROKEN = new VarveError('QMP_UNAVAILABLE', 'broken')
const ENDED = new VarveError('QMP_UNAVAILABLE', 'ended')

class Connection implements LeaseCaller {
  readonly breaking = Promise.withResolvers<VarveError>()
  readonly closed = this.breaking.promise
}

interface Ways {
  /** Waits for a connection to come back, in milliseconds. */
  readonly reconnectMs?: number
  readonly freeBytes?: number
  readonly folder?: string
  readonly connect?: () => Promise<Connection>
  readonly found?: VarveError | null
  readonly remove?: () => Promise<void>
}

interface Host {
  readonly reserveBytes: number
  readonly freeBytes: () => Promise<number>
  readonly log: { info: () => void; warn: (details: object, message: string) => void }
  readonly watchLeft: () => void
}

class PlainLease extends CopyingLease<CopyingEntry, Connection, Host> {
  readonly checkpoint = true
  readonly first = new Connection()
  readonly did: string[]
  readonly #ways: Ways

  constructor(ways: Ways, did: string[] = []) {
    const guard: ScratchGuard = {
      pid: 0,
      lost: new Promise(() => undefined),
      acting: () => void did.push('acting'),
      done: () => void did.push('guard done'),
    }
    const host: Host = {
      reserveBytes: 1000,
      freeBytes: async () => ways.freeBytes ?? 1_000_000,
      log: { info: () => undefined, warn: (_, message) => void did.push(message) },
      watchLeft: () => void did.push('watched as left'),
    }
    const entry = exampleEntry({ phase: 'active', scratchFolder: ways.folder ?? '/nowhere' })
    const words = { unavailable: 'QMP_UNAVAILABLE', ended: 'it has ended', silent: 'it is silent' }
    super({ host, entry, guard, onEnd: () => void did.push('free') }, { ...words, reconnectMs: ways.reconnectMs ?? 0 })
    this.did = did
    this.#ways = ways
    this.start(this.first)
  }

  protected override exportOf(): { socketPath: string; dirtyContext: null } {
    return { socketPath: '/nowhere', dirtyContext: null }
  }

  protected override async write(): Promise<void> {}

  protected override async connect(): Promise<Connection> {
    this.did.push('connect')
    return await (this.#ways.connect?.() ?? Promise.reject(BROKEN))
  }

  protected override async look(): Promise<VarveError | null> {
    return this.#ways.found ?? null
  }

  protected override subscribe(): () => void {
    this.did.push('subscribe')
    return () => void this.did.push('unsubscribe')
  }

  protected override async stopCopying(): Promise<boolean> {
    this.did.push('stop copying')
    return false
  }

  protected override async remove(): Promise<void> {
    await this.#ways.remove?.()
    this.did.push('remove')
  }

  protected override isGone(error: unknown): boolean {
    return error === ENDED
  }
}

test('a connection that comes back is followed, and the lease goes on', async () => {
  const back = Promise.withResolvers<void>()
  const connect = async (): Promise<Connection> => {
    back.resolve()
    return new Connection()
  }
  const lease = new PlainLease({ connect, reconnectMs: 60_000 })
  lease.first.breaking.resolve(BROKEN)
  await back.promise
  await lease.check()
  await lease.end('failed')
  expect(lease.did).toEqual([
    'subscribe',
    'connect',
    'unsubscribe',
    'subscribe',
    'unsubscribe',
    'remove',
    'guard done',
    'free',
  ])
})

test.each([
  ['is lost when something of it is missing', { connect: async () => new Connection(), found: ENDED }, 'ended'],
  ['is lost when the machine has ended', { connect: () => Promise.reject(ENDED), reconnectMs: 60_000 }, 'has ended'],
  ['is lost when nothing answers in time', { connect: () => Promise.reject(BROKEN) }, 'it is silent'],
] as [string, Ways, string][])('a lease whose connection broke %s', async (_, ways, why) => {
  const lease = new PlainLease(ways)
  lease.first.breaking.resolve(BROKEN)
  expect((await lease.lost).message).toContain(why)
})

test('low scratch space loses the lease before the copying is stopped', async () => {
  await using folder = await tempFolder()
  const lease = new PlainLease({ folder: folder.path, freeBytes: 10 })
  const lost = lease.lost.then(({ code }) => lease.did.push(code))
  await lost
  await lease.end('failed')
  expect(lease.did.slice(0, 2)).toEqual(['subscribe', 'acting'])
  expect(lease.did).toEqual(expect.arrayContaining(['stop copying', 'SCRATCH_LOW']))
})

test.each([
  ['is watched where its machine only does not answer', BROKEN, true],
  ['is not where its machine has ended', ENDED, false],
] as const)('a lease that cannot be removed frees its machine, and %s', async (_, error, watched) => {
  const lease = new PlainLease({ remove: () => Promise.reject(error) })
  await expect(lease.end('failed')).rejects.toBe(error)
  expect(lease.did.includes('watched as left')).toBe(watched)
  expect(lease.did.at(-1)).toBe('free')
})
