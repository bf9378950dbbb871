// The program of an agent that begins a lease and is then killed, or made to hang.

import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { LeaseRequest } from '../../agent/drivers/driver.ts'

const source = (path: string): string => JSON.stringify(pathToFileURL(resolve(path)).href)

/** Where each driver is, and what it is called there. */
const DRIVERS = {
  qmp: ['QmpDriver', 'agent/drivers/qmp/qmp-driver.ts'],
  libvirt: ['LibvirtDriver', 'agent/drivers/libvirt/libvirt-driver.ts'],
} as const

export interface VictimOptions {
  readonly driver?: keyof typeof DRIVERS
  readonly stateFolder: string
  readonly runtimeFolder: string
  readonly request: LeaseRequest
  /** Enough to begin; to the guard, which asks the real file system, it may never be enough. */
  readonly reserveBytes: number
}

/** Begins a lease in a process of its own and prints "begun"; then it waits to be killed, or hangs at SIGUSR2. */
export const victimProgram = ({
  driver = 'qmp',
  stateFolder,
  runtimeFolder,
  request,
  reserveBytes,
}: VictimOptions): string => `
  import { ${DRIVERS[driver][0]} } from ${source(DRIVERS[driver][1])}
  import { driverHost } from ${source('test/support/driver-host.ts')}
  const host = await driverHost(${JSON.stringify(stateFolder)}, { reserveBytes: ${reserveBytes} })
  const runtimeFolder = ${JSON.stringify(runtimeFolder)}
  const driver = new ${DRIVERS[driver][0]}(host, { runtimeFolder, freeBytes: async () => 2 ** 61 })
  process.on('SIGUSR2', () => {
    for (;;);
  })
  await driver.begin(${JSON.stringify(request)})
  console.log('begun')
  setInterval(() => undefined, 1000)
`

/** The same for a machine that is off. */
export const offlineVictimProgram = ({
  stateFolder,
  runtimeFolder,
  request,
}: Omit<VictimOptions, 'reserveBytes'>): string => `
  import { OfflineDriver } from ${source('agent/drivers/offline/offline-driver.ts')}
  import { driverHost } from ${source('test/support/driver-host.ts')}
  const host = await driverHost(${JSON.stringify(stateFolder)})
  const driver = new OfflineDriver(host, { runtimeFolder: ${JSON.stringify(runtimeFolder)} })
  await driver.begin(${JSON.stringify(request)})
  console.log('begun')
  setInterval(() => undefined, 1000)
`
