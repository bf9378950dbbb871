// The discover command: shows what runs on this host, and prints the configuration to paste.
import { constants } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { readConfig, type AgentConfig } from '../config.ts'
import { machinesOf } from '../discover/found-machines.ts'
import { findQemus } from '../discover/host-qemus.ts'
import { pageLines } from '../discover/page.ts'
import { print, printJson, remark } from '../../protocol/host/output.ts'

export interface DiscoverCommand {
  readonly config: string
  readonly json: boolean
}

/** What the configuration has; null where there is none yet, or one that this user may not read, which is said. */
const configOf = async (file: string): Promise<AgentConfig | null> => {
  const found = await stat(file).catch(() => null)
  // the shell makes it empty before `discover > FILE` begins
  if (file !== '' && (found === null || (found.isFile() && found.size === 0))) return null
  const isHidden = await access(file, constants.R_OK).then(
    () => false,
    (error: NodeJS.ErrnoException) => error.code === 'EACCES',
  )
  if (!isHidden) return await readConfig(file)
  remark(`${file} may not be read by this user: machines that it has already are not marked`)
  return null
}

const HOW = 'start its QEMU with -qmp unix:/run/varve/NAME.qmp,server=on,wait=off for Varve alone'

export const discover = async (options: DiscoverCommand): Promise<void> => {
  const config = await configOf(options.config)
  const { qemus, processes, unseen } = await findQemus()
  const known = { machines: config?.machines ?? [], isFollowed: () => false }
  const machines = machinesOf({ qemus, libvirt: [] }, known)
  unseen.forEach(remark)
  if (options.json) {
    const rows = machines.map(({ keys, ...machine }) => {
      return { ...machine, keys: Object.entries(keys).map(([key, value]) => ({ key, value })) }
    })
    return printJson({ machines: rows, processes, unseen })
  }
  if (machines.length === 0)
    remark(`nothing was found: none of ${processes} processes is a QEMU. If a machine is off, start it; ${HOW}`)
  pageLines(machines, { file: options.config, hasConfig: config !== null }).forEach(print)
}
