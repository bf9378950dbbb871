// Backups under leases that somebody else holds, with a real gateway, agent and QEMU, which is driven as qemu-server drives it.
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { LeaseHolder, type AccessOptions, type AccessVolume } from '../support/lease-holder.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB, ModelMachine, type ModelDisk } from '../support/model-machine.ts'
import { expectDisks } from '../support/stand-checks.ts'
import type { Host } from '../support/stand-host.ts'
import { Program, type Outcome } from '../support/stand-program.ts'
import { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

const vda: ModelDisk = { id: 'vda', format: 'qcow2', size: 8 * MIB, content: new Dice(50).bytes(8 * MIB) }
const vdb: ModelDisk = { id: 'vdb', format: 'raw', size: 2 * MIB, content: new Dice(51).bytes(2 * MIB) }

interface Answer {
  readonly point?: {
    readonly id: string
    readonly disks: readonly Record<string, unknown>[]
    readonly attachments: unknown
  }
  readonly error?: { readonly code: string; readonly message: string }
}

class Scene implements AsyncDisposable {
  readonly stand: Stand
  readonly host: Host
  readonly machine: ModelMachine
  readonly holder: LeaseHolder
  readonly dice = new Dice(52)

  private constructor(stand: Stand, host: Host, machine: ModelMachine) {
    this.stand = stand
    this.host = host
    this.machine = machine
    this.holder = new LeaseHolder(machine, stand.folder.path)
  }

  static async start(disks: readonly ModelDisk[]): Promise<Scene> {
    const stand = await Stand.start()
    const host = await stand.addHost()
    const machine = await ModelMachine.start({ name: 'vm', folder: stand.folder.join('vm'), disks })
    await host.start()
    return new Scene(stand, host, machine)
  }

  command(volumes: Readonly<Record<string, AccessVolume>>, ...more: readonly string[]): Program {
    const disks = Object.entries(volumes).flatMap(([name, volume]) => {
      const { 'bitmap-mode': state, 'bitmap-name': bitmap, 'nbd-path': socket } = volume
      return ['--disk', `${name}=${socket}:${name}${bitmap === undefined ? '' : `:${bitmap}:${state}`}`]
    })
    const instant = new Date().toISOString()
    const args = ['external', 'backup', '--machine', 'vm', '--instant', instant, ...disks, '--json', ...more]
    return new Program('agent', [...args, '--agent-config', this.host.configFile])
  }

  async run(
    volumes: Readonly<Record<string, AccessVolume>>,
    ...more: readonly string[]
  ): Promise<Outcome & { answer: Answer }> {
    const ended = await this.command(volumes, ...more).ended
    const last = ended.stdout.trimEnd().split('\n').at(-1) ?? ''
    return { ...ended, answer: JSON.parse(last === '' ? '{}' : last) as Answer }
  }

  /** A backup from setup to teardown, with writes of the guest before and after; how the disks were read. */
  async backUp(options: AccessOptions, ...more: readonly string[]): Promise<string[]> {
    await this.write()
    const volumes = await this.holder.setup(options)
    const expected = this.machine.snapshot()
    await this.write()
    const { code, stderr, answer } = await this.run(volumes, ...more)
    await this.holder.teardown(code === 0)
    if (code !== 0) return [answer.error?.code ?? stderr]
    expectDisks(await this.stand.restore(answer.point!.id), expected)
    return answer.point!.disks.map(({ name, kind, reason }) => `${name} ${kind} ${reason}`)
  }

  async write(): Promise<void> {
    for (const { id, size } of this.machine.disks)
      await this.machine.write(id, 64 * KIB * this.dice.below(size / 64 / KIB), this.dice.bytes(4096))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.machine[Symbol.asyncDispose]()
    await this.stand[Symbol.asyncDispose]()
  }
}

const USE = { modes: { vda: 'use', vdb: 'use' } } as const

test('full, increments that clip to the bitmap, a failed one whose changes the next one has, and files beside', async () => {
  await using at = await Scene.start([vda, vdb])
  expect(await at.backUp(USE)).toEqual(['vda full first', 'vdb full first'])
  const config = at.stand.folder.join('vm.conf')
  await writeFile(config, 'scsi0: local:100/vm.qcow2\n')
  expect(await at.backUp(USE, '--config', config)).toEqual(['vda incremental bitmap', 'vdb incremental bitmap'])
  const [newest] = await at.stand.listPoints()
  expect(newest?.attachments?.map(({ name }) => name)).toEqual(['vm.conf'])
  // one that its holder ends in the middle
  await at.write()
  const volumes = await at.holder.setup(USE)
  const broken = at.command(volumes, '--bandwidth', '1K')
  await eventually(async () => (await at.stand.jobs()).some(({ state }) => state === 'running'))
  const ended = await broken.end('SIGINT')
  expect(ended.code).toBe(130)
  await at.holder.teardown(false)
  expect(await at.backUp(USE)).toEqual(['vda incremental bitmap', 'vdb incremental bitmap'])
  expect(await at.host.residue()).toMatchObject({ journal: [], sockets: [] })
})

test('what is durable is discarded, where the export can be written', async () => {
  await using at = await Scene.start([vda])
  const volumes = await at.holder.setup({ modes: { vda: 'use' } })
  const bytes = at.dice.bytes(MIB)
  for (let offset = 0; offset < vda.size; offset += MIB) await at.machine.write('vda', offset, bytes)
  expect(await at.holder.fleecingBytes('vda')).toBeGreaterThanOrEqual(vda.size)
  expect((await at.run(volumes)).code).toBe(0)
  expect(await at.holder.fleecingBytes('vda')).toBeLessThan(MIB)
  await at.holder.teardown(true)
})
