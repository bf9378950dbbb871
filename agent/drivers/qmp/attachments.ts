// What goes with a point of a QEMU machine: its command line, firmware, TPM state, and Proxmox VE's configuration of it.
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { asVarveError } from '../../../protocol/errors.ts'
import { commandText } from '../../attachments/command-line.ts'
import { commandOfListener } from '../../attachments/process.ts'
import type { Reader } from '../../attachments/reader.ts'
import { readCommand } from '../../processes/qemu-command.ts'
import type { QmpCaller } from '../../qmp/client.ts'
import { readOnlyFlash } from '../../qmp/flash.ts'
import type { AttachmentSource } from '../../attachments/source.ts'

/** Where things lie on this host. */
export interface HostPlaces {
  readonly proc: string
  /** Proxmox VE's configuration. */
  readonly pve: string
}

export const HOST_PLACES: HostPlaces = { proc: '/proc', pve: '/etc/pve' }

const PVE_SOCKET = /^(?:\/var)?\/run\/qemu-server\/(\d{1,9})\.qmp$/u

/** The number of a guest of Proxmox VE, by what it was started with or, while it is off, by its monitor. */
const guestOf = (args: readonly string[] | null, qmpPath: string): string | null => {
  if (args === null) return PVE_SOCKET.exec(qmpPath)?.[1] ?? null
  const { manager } = readCommand(args.slice(1))
  const id = args[args.indexOf('-id') + 1]
  return manager?.kind === 'proxmox' && manager.id === id ? id : null
}

const pveSources = async (pve: string, guest: string, reader: Reader | null): Promise<AttachmentSource[]> => {
  const firewall = join(pve, 'firewall', `${guest}.fw`)
  const from = reader === null ? {} : { reader }
  // most guests have none
  const hasFirewall = await stat(firewall).then(
    () => true,
    () => false,
  )
  return [
    { name: `pve/${guest}.conf`, path: join(pve, 'qemu-server', `${guest}.conf`), ...from },
    ...(hasFirewall ? [{ name: `pve/${guest}.fw`, path: firewall, ...from }] : []),
  ]
}

/** What QEMU names is read only where QEMU's own user may read it. */
const flashSources = async (connect: () => Promise<QmpCaller>, reader: Reader | null): Promise<AttachmentSource[]> => {
  try {
    return (await readOnlyFlash(await connect())).map(({ index, fileName }) => {
      const name = `pflash${index}`
      return fileName.startsWith('/')
        ? { name, path: fileName, ...(reader === null ? {} : { reader }) }
        : { name, missing: `QEMU calls its file ${fileName.slice(0, 200)}, which is no path` }
    })
  } catch (thrown) {
    return [{ name: 'pflash', missing: `QEMU cannot be asked for the firmware: ${asVarveError(thrown).message}` }]
  }
}

/** Never rejects: what is not known says why. */
export const qmpAttachments = async (machine: {
  readonly qmpPath: string
  /** The folder of its TPM's state; null where none is named. */
  readonly tpmState: string | null
  readonly connect: () => Promise<QmpCaller>
  readonly places?: HostPlaces
}): Promise<AttachmentSource[]> => {
  const { qmpPath, tpmState, connect, places = HOST_PLACES } = machine
  const found = await commandOfListener(qmpPath, places.proc).catch((error: unknown) => ({
    missing: `it cannot be looked for: ${asVarveError(error).message}`,
  }))
  const { args, reader } = 'args' in found ? found : { args: null, reader: null }
  const guest = guestOf(args, qmpPath)
  return [
    'missing' in found
      ? { name: 'command-line', missing: found.missing }
      : { name: 'command-line', bytes: new TextEncoder().encode(commandText(found.args)) },
    ...(args === null ? [] : await flashSources(connect, reader)),
    ...(tpmState === null ? [] : [{ name: 'swtpm', path: tpmState }]),
    ...(guest === null ? [] : await pveSources(places.pve, guest, reader)),
  ]
}
