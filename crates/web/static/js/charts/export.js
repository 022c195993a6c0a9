/** A stand-in until the charts are merged. */
/** @param {SVGElement} element @returns {string} */
export const svgText = (element) => new XMLSerializer().serializeToString(element);
/** @param {SVGElement} _element @param {string} _name */
export const savePng = (_element, _name) => {};
/** @param {string} _name @param {string} _type @param {string} _text */
export const saveText = (_name, _type, _text) => {};
