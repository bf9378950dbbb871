// The driver `libvirt` does what every driver must, with a real libvirtd.

import type { LeaseBase, LeasedDisk, LeaseRequest } from '../../../../agent/drivers/driver.ts'
import { LibvirtBench, qcow2Disks, startLibvirtBench, type LibvirtTestAgent } from '../../../support/libvirt-lease.ts'
import { asBase, dirtyRanges, type DirtyRange } from '../../../support/lease.ts'
import type { Program } from '../../../support/stand-program.ts'
import { driverSuite, type SuiteAgentOptions, type SuiteHost } from '../driver-suite.ts'

class LibvirtSuiteHost extends LibvirtBench implements SuiteHost {
  readonly holds = 'copies'

  override agent(options: SuiteAgentOptions = {}): Promise<LibvirtTestAgent> {
    return super.agent(options)
  }

  changed(disk: LeasedDisk): Promise<readonly DirtyRange[]> {
    return dirtyRanges(disk)
  }

  override victim(request: LeaseRequest): Promise<Program> {
    return super.victim(request)
  }

  async checkpoint(): Promise<LeaseBase> {
    await using agent = await this.agent()
    const lease = await agent.driver.begin(this.request())
    await lease.end('committed')
    return asBase(lease)
  }

  async addForeign(): Promise<void> {
    for (const name of ['theirs', 'theirs-varve-c0ffee42-cp-0192aaaa'])
      await this.libvirt.virsh('checkpoint-create-as', this.domain.name, name, '--diskspec', 'vda,checkpoint=bitmap')
  }
}

driverSuite(async (folder, disks) => {
  const { libvirt, domain } = await startLibvirtBench(folder, qcow2Disks(folder, disks))
  return new LibvirtSuiteHost(folder, libvirt, domain)
})
