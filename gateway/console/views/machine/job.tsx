// The backup of a machine that runs, or ended last, and the buttons that begin and cancel one.
import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import type { Job } from '../../../../protocol/views.ts'
import { link } from '../../frame/console.ts'
import { Ago, Bar, Button, Mark } from '../../parts/basics.tsx'
import { Ask } from '../../parts/dialog.tsx'
import { bytesText } from '../../parts/format.ts'
import { useMade, useWatched } from '../../parts/hooks.ts'
import { backUp, cancelJob, lastJobOf } from '../../stores/points.ts'
import { common } from '../../texts/common.ts'
import { machine as texts } from '../../texts/machine.ts'
import { points as words } from '../../texts/points.ts'

const Running = ({ job }: { job: Job }) => (
  <>
    <p>
      {texts.job.started} <Ago timeMs={job.startedMs} /> {texts.job.by(job.subject)},{' '}
      {texts.job.sent(bytesText(job.bytesSent))}
    </p>
    <ul class="progress">
      {job.disks.map(({ name, size, doneBytes, kind, reason }) => (
        <li key={name}>
          <Bar
            share={size === 0 ? 1 : doneBytes / size}
            tone="busy"
            label={texts.job.progress(name, bytesText(doneBytes), bytesText(size))}
          />{' '}
          {texts.job.progress(name, bytesText(doneBytes), bytesText(size))}{' '}
          <span class="quiet">
            {words.kinds[kind]}: {words.reasons[reason]}
          </span>
        </li>
      ))}
    </ul>
  </>
)

const Cancelled = ({ job }: { job: Job }) => (
  <p role="status">
    <Mark tone="quiet">
      {texts.job.cancelled} <Ago timeMs={job.endedMs ?? job.startedMs} />
    </Mark>
  </p>
)

const Failed = ({ job }: { job: Job }) => (
  <div class="note bad" role="status">
    <Mark tone="bad">
      {texts.job.failed} <Ago timeMs={job.endedMs ?? job.startedMs} />
    </Mark>
    {job.error === null ? null : (
      <p>
        {job.error.message} <code>{job.error.code}</code>
      </p>
    )}
  </div>
)

const StartAsk = ({ name, onClose, onStarted }: { name: string; onClose: () => void; onStarted: () => void }) => {
  const full = useSignal(false)
  return (
    <Ask
      title={texts.backUp.title(name)}
      action={texts.backUp.action}
      onClose={onClose}
      onYes={async () => {
        await backUp(link, name, full.value)
        onStarted()
      }}
    >
      <p>{texts.backUp.says}</p>
      <label class="check">
        <input type="checkbox" checked={full.value} onChange={(event) => (full.value = event.currentTarget.checked)} />
        {texts.backUp.full}
      </label>
      {full.value ? <p class="quiet">{texts.backUp.fullSays}</p> : null}
    </Ask>
  )
}

/** `onEnded` is called when a backup that was seen running has ended. */
export const JobPanel = ({ name, onEnded }: { name: string; onEnded: () => void }) => {
  const last = useWatched(useMade(() => lastJobOf(link, name), name))
  const asks = useSignal<'start' | { readonly cancel: string } | null>(null)
  const job = last.value.value?.job ?? null
  const isRunning = job?.state === 'running'
  const isOpen = isRunning || (job?.state === 'committed' && !job.released)
  const wasRunning = useRef(false)
  useEffect(() => {
    if (wasRunning.current && !isRunning) onEnded()
    wasRunning.current = isRunning
  }, [isRunning, job?.id])
  const asked = asks.value
  const close = (): void => void (asks.value = null)
  return (
    <section class="job">
      {job !== null && isOpen ? (
        <div class="panel">
          <div role="status">
            <h2>
              <Mark tone="busy">{isRunning ? texts.job.title : texts.job.releasing}</Mark>
            </h2>
          </div>
          <Running job={job} />
          {isRunning && link.may('jobs.cancel') ? (
            <Button kind="danger" onClick={() => (asks.value = { cancel: job.id })}>
              {texts.job.cancel}
            </Button>
          ) : null}
        </div>
      ) : null}
      {job?.state !== 'failed' ? null : job.error?.code === 'CANCELLED' ? (
        <Cancelled job={job} />
      ) : (
        <Failed job={job} />
      )}
      {!isRunning && link.may('backup.start') ? (
        <p>
          <Button kind="main" onClick={() => (asks.value = 'start')}>
            {texts.backUp.action}
          </Button>
        </p>
      ) : null}
      {asked === 'start' ? <StartAsk name={name} onClose={close} onStarted={() => void last.refresh()} /> : null}
      {asked !== null && asked !== 'start' ? (
        <Ask
          title={texts.job.cancelTitle(name)}
          action={texts.job.cancel}
          leave={common.keepRunning}
          kind="danger"
          onClose={close}
          onYes={() => cancelJob(link, asked.cancel)}
        >
          <p>{texts.job.cancelSays}</p>
        </Ask>
      ) : null}
    </section>
  )
}
