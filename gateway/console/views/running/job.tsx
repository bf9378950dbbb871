// One running backup: where it is, what it waits for, how fast it goes and how long it may take.
import { useSignal } from '@preact/signals'
import { link } from '../../frame/console.ts'
import { to } from '../../frame/route.ts'
import { Ago, Bar, Button, Mark } from '../../parts/basics.tsx'
import { Ask } from '../../parts/dialog.tsx'
import { bytesText, durationText } from '../../parts/format.ts'
import { leftOf } from '../../pictures/rate.ts'
import { cancelJob } from '../../stores/points.ts'
import type { Agent, Tracked } from '../../stores/running.ts'
import { common } from '../../texts/common.ts'
import { running as texts } from '../../texts/running.ts'
import { Curve } from './curve.tsx'

const leftText = ({ job, samples }: Tracked): string => {
  if (job.phase !== 'reading' || !job.online) return texts.leftUnknown
  const leftBytes = job.disks.reduce((sum, { size, doneBytes }) => sum + size - doneBytes, 0)
  const left = leftOf(samples, leftBytes)
  return left === null ? texts.leftUnknown : texts.left(durationText(left.leastMs), durationText(left.mostMs))
}

const Disks = ({ job }: Pick<Tracked, 'job'>) => (
  <ul class="progress">
    {job.disks.map(({ name, size, doneBytes }) => {
      const label = texts.progress(name, bytesText(doneBytes), bytesText(size))
      return (
        <li key={name}>
          <Bar share={size === 0 ? 1 : doneBytes / size} tone="busy" label={label} /> {label}
        </li>
      )
    })}
  </ul>
)

/** A job of an agent that is away does nothing, whatever it did last. */
const Phase = ({ job }: Pick<Tracked, 'job'>) => {
  if (!job.online) return <Mark tone="warn">{texts.waits}</Mark>
  return job.phase === null ? null : <Mark tone="busy">{texts.phases[job.phase]}</Mark>
}

export const JobCard = ({ tracked, agent }: { tracked: Tracked; agent: Agent | null }) => {
  const { job, samples } = tracked
  const asks = useSignal(false)
  return (
    <li class="panel">
      <div class="head">
        <h3>
          <a href={to('machine', [job.machine])}>{job.machine}</a>
        </h3>
        <Phase job={job} />
        {job.resumes > 0 ? (
          <Mark tone="warn">
            {texts.resumed(job.resumes)} <Ago timeMs={job.resumedMs} />
          </Mark>
        ) : null}
        {link.may('jobs.cancel') ? (
          <Button kind="danger" label={texts.cancelLabel(job.machine)} onClick={() => (asks.value = true)}>
            {texts.cancel}
          </Button>
        ) : null}
      </div>
      {job.online ? null : <p class="note warn">{texts.away}</p>}
      <Disks job={job} />
      <div class="course">
        <dl>
          <dt>{texts.limitTitle}</dt>
          <dd>{job.limit === null ? texts.limitUnknown : texts.limits[job.limit]}</dd>
          <dt>{texts.leftTitle}</dt>
          <dd>{leftText(tracked)}</dd>
          <dt>{texts.sentTitle}</dt>
          <dd>{bytesText(job.bytesSent)}</dd>
          <dt>{texts.startedTitle}</dt>
          <dd>
            <Ago timeMs={job.startedMs} /> {texts.by(job.subject)}
          </dd>
          {agent === null ? null : (
            <>
              <dt>{texts.hostTitle}</dt>
              <dd>
                <bdi>{agent.host}</bdi>
                {typeof agent.link?.lagMs === 'number' ? `, ${texts.answers(Math.round(agent.link.lagMs))}` : null}
              </dd>
            </>
          )}
        </dl>
        {samples.length > 1 ? <Curve samples={samples} /> : null}
      </div>
      {asks.value ? (
        <Ask
          title={texts.cancelLabel(job.machine)}
          action={texts.cancelAction}
          leave={common.keepRunning}
          kind="danger"
          onClose={() => (asks.value = false)}
          onYes={() => cancelJob(link, job.id)}
        >
          <p>{texts.cancelSays}</p>
        </Ask>
      ) : null}
    </li>
  )
}
