// Runs of plans and upkeep: what runs, what is due next, and what was skipped and why.
import type { Run } from '../../../../protocol/runs.ts'
import { to } from '../../frame/route.ts'
import { Ago, AsOf, ErrorNote, Loading, Mark } from '../../parts/basics.tsx'
import { useWatched } from '../../parts/hooks.ts'
import type { Resource } from '../../net/resource.ts'
import type { RunsFound } from '../../stores/running.ts'
import { running as texts } from '../../texts/running.ts'

const Why = ({ run }: { run: Run }) => {
  if (run.skipped !== null) return <>{texts.skips[run.skipped]}</>
  if (run.error !== null)
    return (
      <>
        {texts.dueWhy(run.attempts)} {run.error.message} <code>{run.error.code}</code>
      </>
    )
  if (run.state === 'running') return <Mark tone="busy">{texts.isRunning}</Mark>
  return <span class="quiet">{run.summary === '' ? texts.waiting : run.summary}</span>
}

interface RunsProps {
  readonly title: string
  /** What stands where there are none; nothing is shown then where it is absent. */
  readonly empty?: string
  readonly runs: Resource<RunsFound>
}

export const Runs = ({ title, empty, runs }: RunsProps) => {
  const watched = useWatched(runs)
  const [all, error] = [watched.value.value, watched.error.value]
  const found = all?.runs ?? null
  if (found !== null && found.length === 0 && empty === undefined) return null
  return (
    <section>
      <h2>{all?.isCut === true ? texts.cut(title, all.runs.length) : title}</h2>
      {found === null && error !== null ? <ErrorNote error={error} onRetry={() => void watched.refresh()} /> : null}
      {found === null && error === null ? <Loading rows={2} /> : null}
      {found === null ? null : <AsOf asOfMs={watched.asOfMs.value} error={error} />}
      {found === null ? null : found.length === 0 ? (
        <p class="quiet">{empty}</p>
      ) : (
        <ul class="runs">
          {found.map((run) => (
            <li key={run.id}>
              <span>
                {texts.kinds[run.kind]}{' '}
                {run.machine === null ? null : <a href={to('machine', [run.machine])}>{run.machine}</a>}
              </span>
              <Ago timeMs={run.nextMs ?? run.startedMs ?? run.dueMs} />
              <span>
                <Why run={run} />
              </span>
            </li>
          ))}
        </ul>
      )}
    </section>
  )
}
