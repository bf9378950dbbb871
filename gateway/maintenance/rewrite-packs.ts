// Rewrites the packs of a plan one after the other, each removed before the next: on a full disk with ballast; packs that do not
// fit are tried later or left.
import { asVarveError } from '../../protocol/errors.ts'
import type { Throttle } from '../../protocol/host/throttle.ts'
import type { SurveyedPack } from './collection-plan.ts'
import type { MaintenanceContext } from './context.ts'
import type { PackProof } from './pack-proof.ts'
import { PackRewriter } from './rewrite.ts'

export interface Rewritten {
  /** Bytes copied. */
  readonly bytes: number
  /** Packs whose live records found no room. */
  readonly left: readonly SurveyedPack[]
}

/**
 * Rewrites in the order given while there is room; then the remaining ones, the smallest first, as each removed pack makes room,
 * until nothing more fits. STORE_FAILED.
 */
export const rewritePacks = async (
  context: MaintenanceContext,
  wanted: readonly SurveyedPack[],
  { throttle, proof }: { readonly throttle: Throttle; readonly proof: PackProof },
): Promise<Rewritten> => {
  const { datastore, tenant, signal, onProgress, log } = context
  const { packs } = datastore.tenantStore(tenant)
  const total = wanted.reduce((sum, { liveBytes }) => sum + liveBytes, 0)
  await using rewriter = new PackRewriter(context, throttle, proof)
  const fits = async (pack: SurveyedPack): Promise<boolean> => {
    try {
      if (!(await packs.ballast.lend(pack.liveBytes))) return false
      if (await rewriter.rewrite(pack)) await packs.remove([pack])
      return true
    } catch (thrown) {
      await rewriter.letGo()
      if (asVarveError(thrown).code !== 'STORE_FULL') throw thrown
      log.warn({ err: thrown, tenant: tenant.id, pack: pack.uuid }, 'a pack found no room to be rewritten')
      return false
    }
  }
  let left = [...wanted]
  for (let before = Number.POSITIVE_INFINITY; left.length > 0 && left.length < before;) {
    before = left.length
    const waiting: SurveyedPack[] = []
    for (const pack of left) {
      signal.throwIfAborted()
      if (!(await fits(pack))) waiting.push(pack)
      onProgress({ phase: 'rewrite', done: rewriter.bytes, total })
    }
    left = waiting.sort((a, b) => a.liveBytes - b.liveBytes)
  }
  return { bytes: rewriter.bytes, left }
}
