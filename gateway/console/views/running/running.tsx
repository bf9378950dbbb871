// The view Running: backups and upkeep as they go, what is due next, and what was skipped.
import { link } from '../../frame/console.ts'
import { AsOf, Empty, ErrorNote, Loading } from '../../parts/basics.tsx'
import { useWatched } from '../../parts/hooks.ts'
import { agentsById, runningJobs, runsOf, upkeepOf } from '../../stores/running.ts'
import { running as texts } from '../../texts/running.ts'
import { JobCard } from './job.tsx'
import { Runs } from './runs.tsx'

const JOBS = runningJobs(link)
const AGENTS = agentsById(link)
const RUNNING = upkeepOf(link)
const DUE = runsOf(link, 'due')
const SKIPPED = runsOf(link, 'skipped')

/** Jobs of one page; more are not asked for. */
const SHOWN_MAX = 100

const Jobs = () => {
  const jobs = useWatched(JOBS)
  const agents = useWatched(AGENTS).value.value
  const [found, error] = [jobs.value.value, jobs.error.value]
  if (found === null)
    return error === null ? <Loading rows={4} /> : <ErrorNote error={error} onRetry={() => void jobs.refresh()} />
  return (
    <>
      <AsOf asOfMs={jobs.asOfMs.value} error={error} />
      {found.length === 0 ? (
        <Empty title={texts.nothing}>
          <p>{texts.nothingSays}</p>
        </Empty>
      ) : (
        <ul class="jobs">
          {found.map((tracked) => (
            <JobCard key={tracked.job.id} tracked={tracked} agent={agents?.get(tracked.job.agent) ?? null} />
          ))}
        </ul>
      )}
      {found.length < SHOWN_MAX ? null : <p class="quiet">{texts.mayBeMore(SHOWN_MAX)}</p>}
    </>
  )
}

export const Running = () => (
  <div class="running">
    <h1 class="hidden">{texts.title}</h1>
    <h2>{texts.backups}</h2>
    <Jobs />
    {link.may('runs.list') ? (
      <>
        <Runs title={texts.upkeep} runs={RUNNING} />
        <Runs title={texts.due} empty={texts.dueNothing} runs={DUE} />
        <Runs title={texts.skipped} empty={texts.skippedNothing} runs={SKIPPED} />
      </>
    ) : null}
  </div>
)
