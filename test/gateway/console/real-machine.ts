// A machine for the console's tests: a real QEMU with a disk, backed up by a real agent of the stand's gateway.
import { mkdir, writeFile } from 'node:fs/promises'
import type { Peer } from '../../../protocol/peer.ts'
import { startMachine, type TestMachine } from '../../support/qemu.ts'
import { Program } from '../../support/stand-program.ts'
import { eventually } from '../../support/temp.ts'
import type { ConsoleStand } from './stand.ts'

const MIB = 1024 * 1024

/** Its one disk, `vda`. */
export const DISK_BYTES = 8 * MIB

export interface MachineWishes {
  readonly name?: string
  /** More lines of the agent's configuration, before its machine. */
  readonly agentLines?: string
  readonly diskBytes?: number
}

export class RealMachine implements AsyncDisposable {
  readonly name: string
  readonly qemu: TestMachine
  readonly agent: Program
  readonly #operator: Peer

  private constructor(name: string, qemu: TestMachine, agent: Program, operator: Peer) {
    this.name = name
    this.qemu = qemu
    this.agent = agent
    this.#operator = operator
  }

  /** Starts QEMU and an agent of its own that serves it; ready to be backed up. */
  static async start(stand: ConsoleStand, wishes: MachineWishes = {}): Promise<RealMachine> {
    const { name = 'db1', agentLines = '', diskBytes = DISK_BYTES } = wishes
    await using resources = new AsyncDisposableStack()
    const { gateway } = stand
    const at = (file: string): string => stand.folder.join(`${name}-${file}`)
    await mkdir(at('qemu'))
    const qemu = resources.use(
      await startMachine({
        folder: at('qemu'),
        disks: [{ id: 'vda', format: 'qcow2', file: at('vda.qcow2'), size: diskBytes }],
      }),
    )
    // half of it holds data, so that zeroes are seen too
    await qemu.guestIo('vda', `write -P 7 0 ${diskBytes / 2}`)
    await gateway.enrolAgent(at('state'))
    const config = at('agent.toml')
    await writeFile(
      config,
      `gateway = "${gateway.url}"\nstate = "${at('state')}"\n${agentLines}\n[[machine]]\nname = "${name}"\nqmp = "${qemu.qmpPath}"\n`,
    )
    const agent = resources.use(new Program('agent', ['run', '--config', config]))
    const operator = await gateway.connectAs(await gateway.tokenFor('operator'))
    await eventually(async () => {
      const { machines } = await operator.call('machines.list', {})
      return machines.some((machine) => machine.name === name && machine.online)
    })
    resources.move()
    return new RealMachine(name, qemu, agent, operator)
  }

  /** Backs it up and gives the point's id. */
  async backUp(): Promise<string> {
    const { job } = await this.#operator.call('backup.start', { machine: this.name, full: false })
    const watching = this.#operator.open('jobs.watch', { job })
    for await (const _state of watching.messages);
    const { state, error } = await watching.result
    if (state !== 'committed') throw new Error(`the backup of ${this.name} is ${state}: ${error?.message}`)
    return job
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent[Symbol.asyncDispose]()
    await this.qemu[Symbol.asyncDispose]()
  }
}
