// The driver `qmp` does what every driver must, with a real QEMU.

import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe } from 'vitest'
import { qemuMajor } from '../../../support/qemu.ts'
import type { LeaseBase, LeaseRequest } from '../../../../agent/drivers/driver.ts'
import { asBase, checkpointsOf, LeaseBench, MIB, threeDisks, type TestAgent } from '../../../support/lease.ts'
import type { Program } from '../../../support/stand-program.ts'
import { driverSuite, type SuiteAgentOptions, type SuiteHost } from '../driver-suite.ts'

const isLook = (command: string): boolean => command.startsWith('query-') || command === 'qom-get'

class QmpSuiteHost extends LeaseBench implements SuiteHost {
  readonly holds = 'copies'

  get disks(): string[] {
    return [...this.model.keys()]
  }

  override agent({ dies, ...options }: SuiteAgentOptions = {}): Promise<TestAgent> {
    return super.agent({
      ...options,
      ...(dies === undefined ? {} : { dies: (command) => (isLook(command) ? null : dies()) }),
    })
  }

  override victim(request: LeaseRequest): Promise<Program> {
    return super.victim(request, 1)
  }

  async checkpoint(): Promise<LeaseBase> {
    await using agent = await this.agent()
    const lease = await agent.driver.begin(this.request())
    await lease.end('committed')
    return asBase(lease)
  }

  async addForeign(): Promise<void> {
    const { control } = this.machine
    await control.execute('block-dirty-bitmap-add', { node: 'vda', name: 'theirs', persistent: true })
    await control.execute('block-dirty-bitmap-add', { node: 'vda', name: 'theirs-varve-c0ffee42-cp-0192aaaa-0' })
    await control.execute('blockdev-add', { driver: 'null-co', 'node-name': 'their-node', size: 4 * MIB })
    await control.execute('blockdev-add', { driver: 'null-co', 'node-name': 'theirs-varve-1', size: MIB })
  }

  async remains(): Promise<object> {
    const files = [join(this.stateFolder, 'scratch'), join(this.folder, 'run')]
    const listed = await Promise.all(files.map((folder) => readdir(folder).catch(() => [])))
    return { ...((await this.objects()) as object), files: listed.flat() }
  }

  withCheckpoint(remains: object, leaseId: string): object {
    const { bitmaps } = remains as { bitmaps: readonly string[] }
    return { ...remains, bitmaps: [...bitmaps, ...checkpointsOf(leaseId, this.disks)].toSorted() }
  }

  kill(): Promise<void> {
    return this.machine.kill9()
  }

  start(): Promise<void> {
    return this.machine.start()
  }
}

// a QEMU that is too old for one way refuses it, which fleecing.test.ts shows
describe.each(qemuMajor() >= 9 ? (['on', 'off'] as const) : (['off'] as const))('fleecing = "%s"', (fleecing) => {
  driverSuite(async (folder, disks) => {
    const host = new QmpSuiteHost(folder, threeDisks(folder).slice(0, disks))
    host.fleecing = fleecing
    await host.start()
    return host
  })
})
