// What limits a backup is named right, and a backup that was cut says that it goes on. Method: a real gateway, the agent's own
// upload of a real export, and one of them slow: the disk by QEMU's throttle, the link by a proxy, the gateway by its packs.
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test, vi } from 'vitest'
import type { Identity } from '../../agent/identity.ts'
import { uploadImage } from '../../agent/image/upload-disk.ts'
import { Pace } from '../../agent/pace.ts'
import { tellProgress } from '../../agent/tell-progress.ts'
import { DirectoryPackFile } from '../../gateway/packs/directory/directory-pack-file.ts'
import { VarveError } from '../../protocol/errors.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { dial } from '../../protocol/host/dial.ts'
import { Throttle } from '../../protocol/host/throttle.ts'
import type { Job, Params } from '../../protocol/methods.ts'
import type { Peer } from '../../protocol/peer.ts'
import { startQemuNbd } from '../agent/nbd/qemu-nbd.ts'
import { announced } from '../support/announced.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { LinkProxy } from '../support/stand-proxy.ts'
import { eventually, tempFolder, type TempFolder } from '../support/temp.ts'

const MIB = 1024 * 1024
const DISK_BYTES = 96 * MIB
const OVER = new VarveError('CANCELLED', 'the test has seen enough')
const READ = { name: 'vda', size: DISK_BYTES, kind: 'full', reason: 'first', base: null, evidence: '' } as const

class Scene implements AsyncDisposable {
  readonly gateway: TestGateway
  readonly link: LinkProxy
  readonly person: Peer
  readonly #temp: TempFolder
  readonly #identity: Identity
  readonly #resources: AsyncDisposableStack
  readonly #over = new AbortController()
  #order = Promise.withResolvers<Params<'agent.backup'>>()
  peer!: Peer

  private constructor(
    parts: { gateway: TestGateway; link: LinkProxy; person: Peer; temp: TempFolder; identity: Identity },
    resources: AsyncDisposableStack,
  ) {
    this.gateway = parts.gateway
    this.link = parts.link
    this.person = parts.person
    this.#temp = parts.temp
    this.#identity = parts.identity
    this.#resources = resources
  }

  static async open(): Promise<Scene> {
    await using resources = new AsyncDisposableStack()
    const temp = resources.use(await tempFolder())
    const gateway = resources.use(await startGateway({ folder: temp.join('data') }))
    const link = resources.use(await LinkProxy.listen())
    link.target = gateway.port
    const identity = await gateway.enrolAgent(temp.join('state'))
    const person = await gateway.connectAs(await gateway.tokenFor('owner'))
    const scene = new Scene({ gateway, link, person, temp, identity }, resources.move())
    await scene.connect()
    return scene
  }

  /** The agent's connection, through the proxy. */
  async connect(): Promise<void> {
    const { peer } = await dial({
      gateway: `ws://127.0.0.1:${this.link.port}`,
      ca: null,
      token: await this.#identity.assertion(Date.now()),
      program: 'test',
      serving: true,
      handlers: { 'agent.backup': async (order) => (this.#order.resolve(order), {}), 'agent.cancel': async () => ({}) },
      clock: systemClock,
    })
    this.peer = peer
    this.#resources.defer(() => peer.close(OVER))
    const jobs = (await this.jobs()).map(({ id }) => id)
    await peer.call('agent.inventory', { host: 'h1', machines: [announced('db1')], jobs })
  }

  async jobs(): Promise<readonly Job[]> {
    return (await this.person.call('jobs.list', { machine: null, running: true })).jobs
  }

  /** An export of random bytes, which gives so many of them in a second. */
  async disk(bytesPerSecond: number | null): Promise<string> {
    const file = this.#temp.join('disk.raw')
    await writeFile(file, randomBytes(DISK_BYTES))
    const group = `throttle-group,id=slow,x-bps-read=${bytesPerSecond ?? 0}`
    const image = `driver=throttle,throttle-group=slow,file.driver=raw,file.file.driver=file,file.file.filename=${file}`
    const nbd = await startQemuNbd(this.#temp, '--read-only', '--object', group, '--image-opts', image)
    this.#resources.use(nbd)
    return nbd.socketPath
  }

  /** Opens a job that reads this disk, as its agent has accepted it. */
  async begin(): Promise<Params<'agent.backup'>> {
    await this.person.call('backup.start', { machine: 'db1', full: false })
    const order = await this.#order.promise
    expect(await this.jobs()).toMatchObject([{ phase: 'preparing', online: true, limit: null }])
    const promised = { timeMs: Date.now(), consistency: 'crash', note: null, configuration: '{}' } as const
    const disks = [{ ...READ, comparedChunks: 0 }]
    await this.peer.call('backup.begin', { job: order.job, ...promised, leftOut: [], disks })
    return order
  }

  /** The agent's upload, which tells how it goes; ends with the scene. */
  upload({ job, chunkBytes, idKey }: Params<'agent.backup'>, socketPath: string): Promise<void> {
    const pace = new Pace(systemClock)
    const link = { call: (name: 'backup.progress', params: never) => this.peer.call(name, params) }
    const telling = { job, steps: { current: 'disk' }, pace, link: () => link as never, clock: systemClock } as const
    const stopTelling = tellProgress(telling)
    const uploading = uploadImage({
      peer: this.peer,
      job,
      disk: { ...READ, comparedChunks: 0, socketPath, exportName: 'disk', dirtyContext: null, reread: [] },
      chunkBytes,
      idKey,
      throttle: new Throttle(null, systemClock),
      signal: this.#over.signal,
      pace,
      onRead: () => {},
    }).finally(stopTelling)
    this.#resources.defer(() => uploading.catch(() => {}))
    this.#resources.defer(() => this.#over.abort(OVER))
    return uploading
  }

  /** Waits until this limit is named, while it reads; before, threads start and buffers fill. */
  async names(limit: Job['limit']): Promise<void> {
    await eventually(async () => {
      const [job] = await this.jobs()
      expect(job).toMatchObject({ phase: 'reading', resumes: 0 })
      return job?.limit === limit
    })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#resources.disposeAsync()
  }
}

/** Makes every write of a pack take so long, in milliseconds. */
const slowPacks = (ms: number): void => {
  const append = Reflect.get<DirectoryPackFile, 'append'>(DirectoryPackFile.prototype, 'append')
  const slow = vi.spyOn(DirectoryPackFile.prototype, 'append')
  slow.mockImplementation(async function (this: DirectoryPackFile, bytes: Uint8Array) {
    await sleep(ms)
    return append.call(this, bytes)
  })
  onTestFinished(() => slow.mockRestore())
}

test('a slow disk is named as reading', async () => {
  await using scene = await Scene.open()
  const socketPath = await scene.disk(4 * MIB)
  void scene.upload(await scene.begin(), socketPath).catch(() => {})
  await scene.names('reading')
})

test('a slow link is named as the link, and a cut upload says that it goes on', async () => {
  await using scene = await Scene.open()
  const socketPath = await scene.disk(null)
  scene.link.bytesPerSecond = 3 * MIB
  const order = await scene.begin()
  const cut = scene.upload(order, socketPath)
  cut.catch(() => {})
  await scene.names('link')
  scene.link.cut()
  await expect(cut).rejects.toMatchObject({ endsConnection: true })
  await eventually(async () => (await scene.jobs())[0]?.online === false)
  expect((await scene.jobs())[0]).toMatchObject({ phase: 'reading', limit: null, resumes: 0 })
  await scene.connect()
  const beforeMs = Date.now()
  void scene.upload(order, socketPath).catch(() => {})
  const resumed = await eventually(async () => (await scene.jobs()).find(({ resumes }) => resumes > 0) ?? null)
  expect(resumed).toMatchObject({ online: true, resumes: 1 })
  expect(resumed.resumedMs).toBeGreaterThanOrEqual(beforeMs)
})

test('a gateway whose packs are slow is named, not the link that waits for it', async () => {
  await using scene = await Scene.open()
  const socketPath = await scene.disk(null)
  slowPacks(200)
  void scene.upload(await scene.begin(), socketPath).catch(() => {})
  await scene.names('gateway')
})
