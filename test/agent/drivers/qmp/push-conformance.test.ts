// The driver `qmp` does what every driver must in mode push, too. What has no meaning there: nothing is exported, so that nothing
// can be read twice, compared, or read again though it has not changed.

import { threeDisks } from '../../../support/lease.ts'
import { driverSuite } from '../driver-suite.ts'
import { PushSuiteHost } from './suite-host.ts'

driverSuite(async (folder, disks) => {
  const host = new PushSuiteHost(folder, threeDisks(folder).slice(0, disks))
  await host.start()
  return host
})
