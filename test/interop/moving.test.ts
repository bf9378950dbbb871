// Machines that move between two hosts: two real QEMUs over the same images, two agents, one gateway, live migrations.
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import type { Result } from '../../protocol/methods.ts'
import { TestMachine, type TestDisk } from '../support/qemu.ts'
import { MIB } from '../support/model-machine.ts'
import { expectDisks } from '../support/stand-checks.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand, TENANT } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

const NAME = 'db1'
const SIZES = { vda: 4 * MIB, vdb: 2 * MIB } as const
type Disk = keyof typeof SIZES

const SLOW_BYTES_PER_SECOND = 4096

/** A host, and the QEMU that the machine has, or had, on it. */
interface Place {
  readonly host: Host
  readonly qemu: TestMachine
}

/** One machine that lives at one of two places, beside a model of what its guest wrote. */
class Scene implements AsyncDisposable {
  readonly stand: Stand
  readonly places: readonly [Place, Place]
  readonly uuid = randomUUID()
  readonly model = new Map<string, Buffer>(Object.entries(SIZES).map(([disk, size]) => [disk, Buffer.alloc(size)]))
  /** Where it is. */
  at: 0 | 1 = 0
  #writes = 0

  private constructor(stand: Stand, places: readonly [Place, Place]) {
    this.stand = stand
    this.places = places
  }

  /** The machine at the first place, with content; both agents run, in one site unless that is said otherwise. */
  static async start({ site = true, uuid = true } = {}): Promise<Scene> {
    const stand = await Stand.start()
    const disks: TestDisk[] = [
      { id: 'vda', format: 'qcow2', file: stand.folder.join('a.qcow2'), size: SIZES.vda },
      { id: 'vdb', format: 'raw', file: stand.folder.join('b.raw'), size: SIZES.vdb },
    ]
    const place = async (name: string): Promise<Place> => {
      const host = await stand.addHost({ name })
      const folder = stand.folder.join(`qemu-${name}`)
      await mkdir(folder)
      const qemu = new TestMachine({ folder, disks, name: NAME })
      await host.configure({ tables: ['[[machine]]', `name = "${NAME}"`, `qmp = "${qemu.qmpPath}"`] })
      return { host, qemu }
    }
    const scene = new Scene(stand, [await place('alpha'), await place('beta')])
    if (!uuid) scene.#identity = []
    if (site)
      for (const { host } of scene.places) await stand.done('agent', 'site', host.agentId, 'dc1', '--tenant', TENANT)
    await scene.here.qemu.start({ extra: scene.#identity })
    await scene.here.qemu.control.execute('cont')
    for (const disk of ['vda', 'vdb'] as const) await scene.write(disk, 0, SIZES[disk] / 2)
    await scene.there.qemu.start({ extra: [...scene.#identity, '-incoming', 'defer'] })
    for (const { host } of scene.places) await host.start()
    return scene
  }

  get here(): Place {
    return this.places[this.at]
  }

  get there(): Place {
    return this.places[this.at === 0 ? 1 : 0]
  }

  #identity: readonly string[] = ['-uuid', this.uuid]

  async write(disk: Disk, offset: number, length: number): Promise<void> {
    const bytes = randomBytes(length)
    const file = this.stand.folder.join(`pattern-${(this.#writes += 1)}`)
    await writeFile(file, bytes)
    await this.here.qemu.guestIo(disk, `write -s ${file} ${offset} ${length}`)
    bytes.copy(this.model.get(disk)!, offset)
  }

  /** A little is written on each disk. */
  async touch(): Promise<void> {
    for (const disk of ['vda', 'vdb'] as const) await this.write(disk, 65_536 * (this.#writes % 24), 4096)
  }

  /** Begins to move it to the other place. */
  async leave({ bitmaps = true, bytesPerSecond = 2 ** 40 } = {}): Promise<void> {
    const uri = `unix:${this.stand.folder.join(`migration-${(this.#writes += 1)}`)}`
    const capabilities = { capabilities: [{ capability: 'dirty-bitmaps', state: bitmaps }] }
    for (const { qemu } of this.places) await qemu.control.execute('migrate-set-capabilities', capabilities)
    await this.there.qemu.control.execute('migrate-incoming', { uri })
    await this.here.qemu.control.execute('migrate-set-parameters', { 'max-bandwidth': bytesPerSecond })
    await this.here.qemu.control.execute('migrate', { uri })
  }

  /** Waits until it has arrived, where it runs on; the QEMU that it left ends, and waits for it anew. */
  async arrive(): Promise<void> {
    const { here, there } = this
    await eventually(async () => {
      const { status } = (await here.qemu.control.execute('query-migrate')) as { status?: string }
      if (status === 'failed') throw new Error(`the migration failed: ${here.qemu.errors.join('')}`)
      return status === 'completed'
    })
    await eventually(async () => !(await statusOf(there.qemu)).includes('migrate'))
    await there.qemu.control.execute('cont')
    this.at = this.at === 0 ? 1 : 0
    await here.qemu.quit()
    await this.expect()
  }

  /** The other place waits for the machine, anew. */
  async expect(): Promise<void> {
    const { qemu } = this.there
    await qemu[Symbol.asyncDispose]()
    await qemu.start({ extra: [...this.#identity, '-incoming', 'defer'] })
  }

  async migrate(options: { readonly bitmaps?: boolean } = {}): Promise<void> {
    await this.leave(options)
    await this.arrive()
  }

  /** Waits until the gateway knows where it is. */
  async known(place = this.here): Promise<void> {
    await eventually(async () => (await this.machine()).agent === place.host.agentId)
  }

  async machine(): Promise<Result<'machines.list'>['machines'][number]> {
    const peer = await this.stand.peer()
    return (await peer.call('machines.list', { machine: NAME })).machines[0]!
  }

  /** A backup, which must be exact; how each disk was read. */
  async backup(): Promise<Record<string, string>> {
    const before = new Map([...this.model].map(([disk, bytes]) => [disk, Buffer.from(bytes)]))
    const job = await this.stand.startBackup(NAME)
    const { error } = await this.stand.ended(job)
    expect(error).toBeNull()
    expectDisks(await this.stand.restore(job), before)
    const { disks } = await this.stand.point(job)
    return Object.fromEntries(disks.map(({ name, reason }) => [name, reason]))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { qemu } of this.places) await qemu[Symbol.asyncDispose]()
    await this.stand[Symbol.asyncDispose]()
  }
}

const statusOf = async ({ control }: TestMachine): Promise<string> =>
  ((await control.execute('query-status')) as { status: string }).status

const FIRST = { vda: 'first', vdb: 'first' }
const BOTH = { vda: 'bitmap', vdb: 'bitmap' }

test('a machine that moves with its bitmaps, and back, is backed up by increments where it is, each exact', async () => {
  await using scene = await Scene.start()
  await scene.known()
  expect(await scene.backup()).toEqual(FIRST)
  await scene.touch()
  expect(await scene.backup()).toEqual(BOTH)
  expect(await scene.machine()).toMatchObject({ uuid: scene.uuid, site: 'dc1' })
  for (let round = 0; round < 2; round += 1) {
    await scene.touch()
    await scene.migrate()
    await scene.touch()
    await scene.known()
    expect(await scene.backup()).toEqual(BOTH)
    await scene.touch()
    expect(await scene.backup()).toEqual(BOTH)
  }
  expect(scene.at).toBe(0)
  const log = await scene.stand.done('audit', 'list', '--tenant', TENANT, '--json')
  const { entries } = JSON.parse(log.stdout) as { entries: { action: string; subject: string }[] }
  const [alpha, beta] = scene.places.map(({ host }) => host.agentId)
  expect(entries.filter(({ action }) => action === 'machines.move').map(({ subject }) => subject)).toEqual([
    beta,
    alpha,
  ])
})

test('without the bitmaps of a raw disk it is read in full, as moved; the other one has them in its image', async () => {
  await using scene = await Scene.start()
  await scene.known()
  await scene.backup()
  await scene.touch()
  await scene.migrate({ bitmaps: false })
  await scene.known()
  await scene.touch()
  expect(await scene.backup()).toEqual({ vda: 'bitmap', vdb: 'moved' })
  await scene.touch()
  expect(await scene.backup()).toEqual(BOTH)
})

test('a backup that is asked for during the migration is refused, and the migration goes to its end', async () => {
  await using scene = await Scene.start()
  await scene.known()
  await scene.backup()
  await scene.touch()
  await scene.leave({ bytesPerSecond: SLOW_BYTES_PER_SECOND })
  const { qemu } = scene.here
  const moving = async (): Promise<boolean> =>
    ((await qemu.control.execute('query-migrate')) as { status?: string }).status === 'active'
  await eventually(moving)
  const job = await scene.stand.startBackup(NAME)
  expect((await scene.stand.ended(job)).error).toMatchObject({ code: 'MACHINE_MOVING' })
  expect(await moving()).toBe(true)
  await qemu.control.execute('migrate-set-parameters', { 'max-bandwidth': 2 ** 40 })
  await scene.arrive()
  await scene.known()
  expect(await scene.backup()).toEqual(BOTH)
})

test('without a common site the machine stays with its agent until an owner assigns it', async () => {
  await using scene = await Scene.start({ site: false })
  const [alpha, beta] = scene.places
  await scene.known(alpha)
  await scene.backup()
  await scene.migrate()
  await beta.host.agent.says(/let an owner assign it to this agent.*machine refused/u)
  const refused = await scene.stand.startBackup(NAME)
  expect((await scene.stand.ended(refused)).error).toMatchObject({ code: 'MACHINE_MOVING' })
  expect((await scene.machine()).agent).toBe(alpha.host.agentId)
  await scene.stand.done('machine', 'assign', NAME, '--agent', beta.host.agentId, '--tenant', TENANT)
  await scene.touch()
  expect(await scene.backup()).toEqual(BOTH)
})

test('without a uuid nothing shows that it is the same machine; a site alone does not hand it over', async () => {
  await using scene = await Scene.start({ uuid: false })
  const [alpha, beta] = scene.places
  await scene.known(alpha)
  await scene.backup()
  await scene.migrate()
  await beta.host.agent.says(/start it with one -uuid on both hosts.*machine refused/u)
  expect((await scene.machine()).agent).toBe(alpha.host.agentId)
})

test('agents that are killed in between lose nothing, wherever the machine is by then', async () => {
  await using scene = await Scene.start()
  const [alpha, beta] = scene.places
  await scene.known(alpha)
  await scene.backup()
  await scene.touch()
  await alpha.host.end('SIGKILL')
  await scene.migrate()
  // a backup that is started finds it at the other agent
  expect(await scene.backup()).toEqual(BOTH)
  await scene.known(beta)
  // killed in the middle of a backup, whose lease the next start goes on with or gives back
  await beta.host.end('SIGTERM')
  await beta.host.start({ bandwidth: '64 KiB' })
  await scene.write('vda', 0, SIZES.vda)
  const cut = await scene.stand.startBackup(NAME, true)
  await scene.stand.begun(cut)
  await beta.host.end('SIGKILL')
  await alpha.host.start()
  await beta.host.start({ bandwidth: '64 MiB' })
  await scene.stand.ended(cut)
  await scene.touch()
  await scene.backup()
  await scene.touch()
  await scene.migrate()
  await scene.known(alpha)
  expect(await scene.backup()).toEqual(BOTH)
})

/** A scene with a committed point, and a backup of everything under way that takes long. */
const busyScene = async (): Promise<{ scene: Scene; job: string }> => {
  const scene = await Scene.start()
  const [alpha] = scene.places
  await scene.known(alpha)
  await scene.backup()
  await scene.touch()
  await alpha.host.end('SIGTERM')
  await alpha.host.start({ bandwidth: '64 KiB' })
  const job = await scene.stand.startBackup(NAME, true)
  await scene.stand.begun(job)
  return { scene, job }
}

/** Nothing of a lease is in the QEMU, nor a bitmap but those of the base. */
const expectNothingOf = async (job: string, { control }: TestMachine): Promise<void> => {
  for (const query of ['query-jobs', 'query-block-exports']) expect(await control.execute(query)).toEqual([])
  const nodes = JSON.stringify(await control.execute('query-named-block-nodes', { flat: true }))
  expect(nodes).toMatch(/varve-[0-9a-z]{8}-cp-/)
  expect(nodes).not.toContain(job)
}

test.each([true, false])(
  'a backup gives way to a migration, after which the next one is an increment there (agent killed: %s)',
  async (killed) => {
    const { scene, job } = await busyScene()
    await using _ = scene
    const [alpha, beta] = scene.places
    await scene.leave({ bytesPerSecond: SLOW_BYTES_PER_SECOND, bitmaps: false })
    if (killed) {
      await alpha.host.end('SIGKILL')
      await alpha.host.start({ bandwidth: '64 MiB' })
    }
    expect((await scene.stand.ended(job)).error).toMatchObject({
      code: 'MACHINE_MOVING',
      message: expect.stringMatching(/gave way: it is moving to another host.*back it up again when it has arrived/),
    })
    await expectNothingOf(job, alpha.qemu)
    await scene.touch()
    await alpha.qemu.control.execute('migrate-set-parameters', { 'max-bandwidth': 2 ** 40 })
    await scene.arrive()
    await scene.known(beta)
    await expectNothingOf(job, beta.qemu)
    await scene.touch()
    expect(await scene.backup()).toEqual({ vda: 'bitmap', vdb: 'moved' })
  },
)

test('a migration that is too fast for that fails, and neither the machine nor its next backup and migration do', async () => {
  const { scene, job } = await busyScene()
  await using _ = scene
  const { qemu, host } = scene.here
  await scene.leave()
  await eventually(
    async () => ((await qemu.control.execute('query-migrate')) as { status?: string }).status === 'failed',
  )
  expect(await statusOf(qemu)).toBe('running')
  expect((await scene.stand.ended(job)).error).toMatchObject({ code: 'MACHINE_MOVING' })
  await expectNothingOf(job, qemu)
  await host.end('SIGTERM')
  await host.start()
  await scene.touch()
  expect(await scene.backup()).toEqual(BOTH)
  await scene.expect()
  await scene.migrate()
  await scene.known()
  expect(await scene.backup()).toEqual(BOTH)
})
