// The state of a machine, as libvirt reports it.

import { asVarveError } from '../../../protocol/errors.ts'
import type { LibvirtCaller } from '../../libvirt/types.ts'
import { splitExcluded } from '../../qmp/disks.ts'
import type { MachineConfig, MachineLook } from '../driver.ts'
import { versionText } from './begin.ts'
import { readDomain } from './domain-xml.ts'
import { findDomain, machineOff } from './run-state.ts'

const unreachable = (problem: string, runState: string | null, hypervisor: string | null): MachineLook => ({
  reachable: false,
  runState,
  hypervisor,
  problem,
  disks: [],
  leftOut: [],
})

export const lookAtMachine = async (
  connect: () => Promise<LibvirtCaller>,
  machine: MachineConfig,
): Promise<MachineLook> => {
  try {
    const caller = await connect()
    const hypervisor = `QEMU ${versionText(await caller.hypervisorVersion())}, libvirt ${versionText(caller.version)}`
    const domain = await findDomain(caller, machine)
    const { state } = await caller.domainState(domain)
    if (domain.id === null) return unreachable(machineOff(machine.name).message, state, hypervisor)
    const found = readDomain(await caller.domainXml(domain))
    const sized = await Promise.all(
      found.disks.map(async ({ name, format }) => ({
        name,
        size: (await caller.blockInfo(domain, name)).capacity,
        format,
      })),
    )
    const left = sized.filter(({ size }) => size === 0)
    const leftOut = [...found.leftOut, ...left.map(({ name }) => ({ name, reason: 'no-size' as const }))]
    const all = { disks: sized.filter(({ size }) => size > 0), leftOut }
    const { disks, leftOut: others } = splitExcluded(all, machine.exclude)
    return { reachable: true, runState: state, hypervisor, problem: null, disks: [...disks], leftOut: [...others] }
  } catch (thrown) {
    return unreachable(asVarveError(thrown).message, null, null)
  }
}
