// The state of a machine, as QEMU reports it.

import * as v from 'valibot'
import { asVarveError, type VarveError } from '../../../protocol/errors.ts'
import { checkAnswer, listDisks, splitExcluded, type MachineDisk } from '../../qmp/disks.ts'
import type { QmpLink } from '../../qmp/link.ts'
import type { MachineLook } from '../driver.ts'

const runState = v.object({ status: v.string() })

/** The image's format, also while a backup job's filter is above it. */
const formatOf = ({ format, backing }: MachineDisk): string =>
  format === 'copy-before-write' ? (backing[0]?.format ?? format) : format

/** Asks QEMU; `whenOff` may know more of a machine that cannot be reached. */
export const lookAtMachine = async (
  link: QmpLink,
  exclude: readonly string[],
  whenOff: (error: VarveError) => Promise<MachineLook | null>,
): Promise<MachineLook> => {
  try {
    const client = await link.client()
    const { status } = checkAnswer(runState, await client.execute('query-status'), 'query-status')
    const { major, minor, micro } = client.version
    const { disks: found, leftOut } = splitExcluded(await listDisks(client), exclude)
    const disks = found.map((disk) => ({ name: disk.name, size: disk.size, format: formatOf(disk) }))
    const hypervisor = `QEMU ${major}.${minor}.${micro}`
    return { reachable: true, runState: status, hypervisor, problem: null, disks, leftOut: [...leftOut] }
  } catch (thrown) {
    const error = asVarveError(thrown)
    const off = await whenOff(error)
    if (off !== null) return off
    const problem = error.message
    const reachable = link.state === 'up'
    return { reachable, runState: null, hypervisor: null, problem, disks: [], leftOut: [] }
  }
}
