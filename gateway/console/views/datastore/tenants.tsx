// The tenants of a gateway by what their packs take, for the platform.
import type { TenantView } from '../../../../protocol/tenant-methods.ts'
import { link } from '../../frame/console.ts'
import { Bar, Bytes, Empty, ErrorNote, Loading } from '../../parts/basics.tsx'
import { Copy } from '../../parts/copy.tsx'
import { bytesText, percentText } from '../../parts/format.ts'
import { useWatched } from '../../parts/hooks.ts'
import { Table, type Column } from '../../parts/table.tsx'
import { bytesOf, tenantGroups } from '../../pictures/treemap.ts'
import { tenantsOf } from '../../stores/datastore.ts'
import { datastore as texts } from '../../texts/datastore.ts'
import { TreemapPicture } from './treemap.tsx'

const TENANTS = tenantsOf(link)

const { columns } = texts.tenants

const Quota = ({ packBytes, quota: { softBytes, hardBytes } }: TenantView) => {
  const limit = hardBytes ?? softBytes
  if (limit === null) return <span class="quiet">{texts.noQuota}</span>
  const share = packBytes / Math.max(1, limit)
  const text = texts.ofQuota(percentText(share), bytesText(limit))
  return (
    <>
      <Bar share={share} tone={share >= 1 ? 'bad' : share > 0.85 ? 'warn' : 'good'} label={text} /> {text}
    </>
  )
}

const COLUMNS: readonly Column<TenantView>[] = [
  { name: 'tenant', title: columns.tenant, cell: ({ name }) => name },
  { name: 'bytes', title: columns.bytes, isNumber: true, cell: ({ packBytes }) => <Bytes bytes={packBytes} /> },
  { name: 'quota', title: columns.quota, cell: (tenant) => <Quota {...tenant} /> },
  {
    name: 'chunk',
    title: columns.chunk,
    isNumber: true,
    isExtra: true,
    cell: ({ chunkBytes }) => <Bytes bytes={chunkBytes} />,
  },
]

export const Tenants = () => {
  const tenants = useWatched(TENANTS)
  const found = tenants.value.value
  const error = tenants.error.value
  if (found === null)
    return error === null ? <Loading rows={4} /> : <ErrorNote error={error} onRetry={() => void tenants.refresh()} />
  if (found.length === 0)
    return (
      <Empty title={texts.tenants.none}>
        <p>{texts.tenants.first}</p>
        <Copy text={texts.tenants.command} label={texts.tenants.first} />
      </Empty>
    )
  const groups = tenantGroups(found)
  const all = bytesOf(groups.flatMap(({ parts }) => parts))
  return (
    <section class="panel" aria-labelledby="tenants-title">
      <h2 id="tenants-title">{texts.tenants.title}</h2>
      {all === 0 ? null : (
        <>
          <TreemapPicture groups={groups} onChoose={() => {}} />
          <p class="quiet">{texts.parts.sum(bytesText(all))}</p>
        </>
      )}
      <Table
        caption={texts.tenants.caption}
        rows={found.toSorted((a, b) => b.packBytes - a.packBytes)}
        columns={COLUMNS}
        keyOf={({ name }) => name}
      />
    </section>
  )
}
