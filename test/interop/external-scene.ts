// A machine whose lease somebody else holds, beside a gateway and an agent.
import { LeaseHolder, type AccessOptions, type AccessVolume } from '../support/lease-holder.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, ModelMachine, type ModelDisk } from '../support/model-machine.ts'
import { expectDisks } from '../support/stand-checks.ts'
import type { Host } from '../support/stand-host.ts'
import { Program, type Outcome } from '../support/stand-program.ts'
import { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

interface Answer {
  readonly point?: {
    readonly id: string
    readonly disks: readonly { readonly name: string; readonly kind: string; readonly reason: string }[]
    readonly attachments: unknown
  }
  readonly error?: { readonly code: string; readonly message: string }
}

export class ExternalScene implements AsyncDisposable {
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

  static async start(disks: readonly ModelDisk[]): Promise<ExternalScene> {
    const stand = await Stand.start()
    const host = await stand.addHost()
    const machine = await ModelMachine.start({ name: 'vm', folder: stand.folder.join('vm'), disks })
    await host.start()
    return new ExternalScene(stand, host, machine)
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

  /** Waits until a backup is under way. */
  async running(): Promise<void> {
    await eventually(async () =>
      (await this.stand.jobs()).some(({ state, disks }) => state === 'running' && disks.length > 0),
    )
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
