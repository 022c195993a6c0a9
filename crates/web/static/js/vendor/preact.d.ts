// What the page uses of Preact, for the type checker: written by us, the library's own declarations are larger than it.
export type VNode = { type: unknown; props: Record<string, unknown>; key: unknown };
export type Child = VNode | string | number | boolean | null | undefined | Child[];
export function h(type: unknown, props?: object | null, ...children: unknown[]): VNode;
export function render(node: Child, parent: Element): void;
export const Fragment: unknown;
export class Component<P = object, S = object> {
  props: P;
  state: S;
  constructor(props?: P);
  setState(state: Partial<S>): void;
}
