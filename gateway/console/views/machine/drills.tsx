// Whether a restore point boots: its drills with their evidence, and on demand what was on the screen and the serial console.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import type { Drill } from '../../../../protocol/drills.ts'
import { link } from '../../frame/console.ts'
import { Ago, Bytes, ErrorNote, Loading, Mark } from '../../parts/basics.tsx'
import { Copy } from '../../parts/copy.tsx'
import { bytesText, durationText, plainText } from '../../parts/format.ts'
import { useMade, useWatched } from '../../parts/hooks.ts'
import { shellCommand } from '../../parts/shell.ts'
import { drillOf, drillsOf } from '../../stores/drills.ts'
import { drills as texts } from '../../texts/drills.ts'
import { Fact } from './facts.tsx'

/** A PNG that came as bytes; its address ends with the component. */
const Picture = ({ png, label }: { png: Uint8Array; label: string }) => {
  const url = useSignal<string | null>(null)
  useEffect(() => {
    const made = URL.createObjectURL(new Blob([png.slice()], { type: 'image/png' }))
    url.value = made
    return () => URL.revokeObjectURL(made)
  }, [png])
  return url.value === null ? null : <img src={url.value} alt={label} />
}

const Seen = ({ id, machine }: { id: string; machine: string }) => {
  const resource = useWatched(useMade(() => drillOf(link, id), id))
  const { seen, error } = { seen: resource.value.value, error: resource.error.value }
  if (seen === null)
    return error === null ? <Loading rows={3} /> : <ErrorNote error={error} onRetry={() => void resource.refresh()} />
  const { picture, log } = seen
  return (
    <>
      {picture === null ? (
        <p class="quiet">{texts.noPicture}</p>
      ) : (
        <Picture png={picture} label={texts.picture(machine)} />
      )}
      {log === '' ? (
        <p class="quiet">{texts.noLog}</p>
      ) : (
        <pre class="log" tabIndex={0} role="log" aria-label={texts.log}>
          {plainText(log)}
        </pre>
      )}
    </>
  )
}

const Facts = ({ drill }: { drill: Drill }) => {
  const { check, firmwareMs, evidenceMs, bootLimitMs, durationMs, accelerator, memoryBytes, cpus } = drill
  const limit = durationText(bootLimitMs)
  return (
    <dl class="facts">
      <Fact name={texts.fields.check}>
        <code class="text">{plainText(check)}</code>
      </Fact>
      <Fact name={texts.fields.evidence}>
        {evidenceMs === null ? texts.noEvidence(limit) : texts.limit(durationText(evidenceMs), limit)}
      </Fact>
      <Fact name={texts.fields.firmware}>{firmwareMs === null ? texts.never : durationText(firmwareMs)}</Fact>
      <Fact name={texts.fields.took}>{durationText(durationMs)}</Fact>
      <Fact name={texts.fields.how}>{texts.how(texts.accelerators[accelerator], bytesText(memoryBytes), cpus)}</Fact>
      <Fact name={texts.fields.received}>
        <Bytes bytes={drill.bytesReceived} />
      </Fact>
      <Fact name={texts.fields.wrote}>
        <Bytes bytes={drill.bytesWritten} />
      </Fact>
    </dl>
  )
}

const One = ({ drill }: { drill: Drill }) => {
  const isOpen = useSignal(false)
  const { id, machine, verdict, reason, host, by, addedMs, remarks } = drill
  return (
    <li>
      <p>
        <Mark tone={verdict === 'passed' ? 'good' : 'bad'}>
          <strong>{texts.verdicts[verdict]}</strong>
        </Mark>{' '}
        <Ago timeMs={addedMs} /> <span class="quiet">{texts.by(host, by)}</span>
      </p>
      <p class="text">{plainText(reason)}</p>
      <Facts drill={drill} />
      {remarks.length === 0 ? null : (
        <>
          <p class="quiet">{texts.unlike}</p>
          <ul>
            {remarks.map((remark) => (
              <li key={remark} class="text">
                {plainText(remark)}
              </li>
            ))}
          </ul>
        </>
      )}
      <details onToggle={(event) => (isOpen.value = event.currentTarget.open)}>
        <summary>{texts.seen}</summary>
        {isOpen.value ? <Seen id={id} machine={machine} /> : null}
      </details>
    </li>
  )
}

export const Drills = ({ point }: { point: string }) => {
  const resource = useWatched(useMade(() => drillsOf(link, point), point))
  const { rows, error } = { rows: resource.value.value, error: resource.error.value }
  return (
    <section class="drills" aria-labelledby="drills-title">
      <h3 id="drills-title">{texts.title}</h3>
      {error === null ? null : <ErrorNote error={error} onRetry={() => void resource.refresh()} />}
      {rows === null && error === null ? <Loading rows={2} /> : null}
      {rows?.length === 0 ? (
        <>
          <p>{texts.none}</p>
          <Copy text={shellCommand('varve-agent', 'drill', point)} label={texts.title} />
        </>
      ) : null}
      <ul class="disks">
        {rows?.map((drill) => (
          <One key={drill.id} drill={drill} />
        ))}
      </ul>
    </section>
  )
}
