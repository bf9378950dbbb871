// The driver `qmp` does what every driver must, with a real QEMU.

import { threeDisks } from '../../../support/lease.ts'
import { driverSuite } from '../driver-suite.ts'
import { QmpSuiteHost } from './suite-host.ts'

driverSuite(async (folder, disks) => {
  const host = new QmpSuiteHost(folder, threeDisks(folder).slice(0, disks))
  await host.start()
  return host
})
