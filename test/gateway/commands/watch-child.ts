// A command that takes for ever, in a process of its own: watches a job that never ends until it is interrupted.
import { withTenant } from '../../../gateway/commands/remote.ts'
import { asVarveError } from '../../../protocol/errors.ts'
import { exitCode } from '../../../protocol/host/exit.ts'

const [data = '', tenant = '', job = ''] = process.argv.slice(2)
try {
  await withTenant({ data, tenant }, async ({ peer, signal }) => {
    const call = peer.open('jobs.watch', { job }, { signal })
    await call.messages[Symbol.asyncIterator]().next()
    process.stdout.write('watching\n')
    await call.result
  })
} catch (thrown) {
  process.exitCode = exitCode(asVarveError(thrown).code)
}
