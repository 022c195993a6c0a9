/** The page of a destination, a domain, an address or a country: who talks to it, how, since when. */
import { useAnswer } from '../lib/answer.js';
import { countryName, dimensionName } from '../lib/dimensions.js';
import { ago, dayAndTime } from '../lib/format.js';
import { html, useState } from '../lib/html.js';
import { filters, param } from '../lib/state.js';
import { Chips } from '../parts/chips.js';
import { CompareSwitch, InternetSwitch } from '../parts/controls.js';
import { When } from '../parts/figures.js';
import { Icon } from '../parts/icons.js';
import { Badge } from '../parts/identity.js';
import { RangeBar } from '../parts/rangebar.js';
import { NoLog, Problem } from '../parts/states.js';
import { about, exploreLink, Facts, moved, Names, TabbedList } from '../parts/subject.js';
import { Traffic, useSeries } from '../parts/traffic.js';

const KINDS = ['domain', 'address', 'country'];
/** What each kind consists of. @type {Record<string, string[]>} */
const INSIDE = {
  domain: ['address', 'country', 'network'],
  address: ['domain', 'country', 'network'],
  country: ['domain', 'address', 'network'],
};

/** @param {{kind: string, value: string, badge: boolean, explore: string, countries: any[]}} props */
const Title = ({ kind, value, badge, explore, countries }) => html`
  <div class="title">
    <h1 title=${value}>${kind === 'country' ? countryName(value) : value}</h1>
    <span class="dim-t">${kind === 'country' ? value : [dimensionName(kind).toLowerCase(), ...countries.map((row) => countryName(row.country))].join(', ')}</span>
    ${badge && html`<${Badge} kind="new">new<//>`}
    <span class="grow"></span>
    <a class="btn quiet" href=${explore}>Explore<${Icon} name="go" /></a>
  </div>
`;

export default function Destination() {
  const kind = KINDS.find((name) => param(name)) ?? 'domain';
  const value = param(kind);
  const [lifted, setLifted] = useState(/** @type {string | null} */ (null));
  const params = about(kind, value);
  const sums = useAnswer('query', { ...params, group_by: kind, seen: 1, limit: 2 });
  const countries = useAnswer(kind === 'country' ? null : 'query', {
    ...params,
    group_by: 'country',
    limit: 3,
  }).data;
  const chart = useSeries('exe', params);
  const { data, error } = sums;
  if (error && !data && (error.kind === 'no_log' || error.kind === 'no_rights'))
    return html`<${NoLog} error=${error} />`;
  const row = data?.rows.find((one) => String(one[kind]) === value) ?? data?.rows[0];
  const isNew = Boolean(data && row && data.range.since && row.first_seen >= data.range.since);
  /** @param {string} name @param {string | null} [sort] */
  const more = (name, sort) => exploreLink(kind, value, name, sort);
  return html`
    <${RangeBar} answered=${data?.range}><${CompareSwitch} /><${InternetSwitch} /><//>
    ${filters.value.length > 0 && html`<div class="ctl"><${Chips} labels=${data?.labels} /></div>`}
    <${Title} kind=${kind} value=${value} badge=${isNew} explore=${more('exe')}
      countries=${(countries?.rows ?? []).filter((one) => one.country)} />
    <${Facts} stale=${sums.stale} facts=${[
      [
        'First seen',
        row
          ? html`<${When} time=${row.first_seen} as=${dayAndTime} />${row.first_seen > 0 && html`<span class="dim-t">, ${ago(row.first_seen)}</span>`}`
          : '·',
      ],
      ['Last seen', html`<${When} time=${row?.last_seen} />`],
      ['In the range', data ? moved(data.total) : '·'],
    ]} />
    <${Problem} answer=${sums} />
    <div class="sec">
      <${Traffic} title="Traffic by program" dimension="exe" answer=${chart} lifted=${lifted}
        height=${(/** @type {boolean} */ narrow) => (narrow ? 220 : 280)} />
    </div>
    <div class="cols three">
      <${TabbedList} label="Programs" word="left" list=${['exe', 'pexe', 'cmdline']} params=${params} limit=${12} liftBy="exe" onLift=${setLifted} more=${more} />
      <${TabbedList} label="What it consists of" word="right" list=${INSIDE[kind]} params=${params} limit=${12} more=${more} />
      <div>
        <${TabbedList} label="Ports and protocols" word="ports" list=${['port', 'protocol']} params=${params} second=${{ port: 'protocol' }} limit=${5} more=${more} />
        <section class="sec" aria-label="Who">
          <div class="lhead"><h2>Who</h2><span class="grow"></span><span>connections</span></div>
          <${Names} title="Users" dimension="uid" params=${params} />
          <${Names} title="Units" dimension="unit" params=${params} />
          <${Names} title="Containers" dimension="container" params=${params} />
        </section>
      </div>
    </div>
  `;
}
