// Renders openapi.json. Texts of the document only ever become text nodes.
"use strict";

const methods = ["get", "post", "put", "patch", "delete"];

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function resolve(spec, schema) {
  const name = schema?.$ref?.replace("#/components/schemas/", "");
  return name ? { name, schema: spec.components.schemas[name] ?? {} } : { name: "", schema: schema ?? {} };
}

function typeName(spec, schema) {
  const { name, schema: found } = resolve(spec, schema);
  if (found.enum) return found.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (found.type === "array") return `list of ${typeName(spec, found.items)}`;
  if (found.additionalProperties && typeof found.additionalProperties === "object") return `map of ${typeName(spec, found.additionalProperties)}`;
  const type = Array.isArray(found.type) ? found.type.join(" or ") : found.type;
  const short = name.split(".").pop();
  if (type === "object" || !type) return short || "any";
  return found.format ? `${type} (${found.format})` : type;
}

function table(heads, rows) {
  const cells = (tag, row) => element("tr", {}, ...row.map((text) => element(tag, {}, text)));
  return element("table", {}, element("thead", {}, cells("th", heads)), element("tbody", {}, ...rows.map((row) => cells("td", row))));
}

// fields shows a message's fields, and what is inside them on demand. seen keeps a message from holding itself.
function fields(spec, schema, seen) {
  let { name, schema: found } = resolve(spec, schema);
  while (found.type === "array") ({ name, schema: found } = resolve(spec, found.items));
  if (!found.properties || seen.includes(name)) return [];
  const within = [...seen, name];
  const properties = Object.entries(found.properties);
  const parts = [table(["field", "type", ""], properties.map(([key, value]) => [
    element("code", {}, key), typeName(spec, value), element("span", { class: "about" }, value.description ?? resolve(spec, value).schema.description ?? ""),
  ]))];
  for (const [key, value] of properties) {
    const inner = fields(spec, value, within);
    if (inner.length) parts.push(element("details", {}, element("summary", {}, element("code", {}, key)), ...inner));
  }
  return parts;
}

function body(spec, title, content) {
  const schema = Object.values(content ?? {})[0]?.schema;
  if (!schema) return [];
  const shown = fields(spec, schema, []);
  return [element("h4", {}, `${title}: ${typeName(spec, schema)}`), ...shown];
}

function operation(spec, path, verb, found) {
  const parts = [
    element("h3", {}, element("span", { class: "verb" }, verb.toUpperCase()), " ", element("span", { class: "path" }, path)),
    element("p", { class: "about" }, [found.summary, found.description].filter(Boolean).join("\n\n")),
  ];
  if (found.parameters?.length) {
    parts.push(element("h4", {}, "Parameters"), table(["name", "in", "type", ""], found.parameters.map((parameter) => [
      element("code", {}, parameter.name), parameter.in, typeName(spec, parameter.schema), element("span", { class: "about" }, parameter.description ?? ""),
    ])));
  }
  parts.push(...body(spec, "Body", found.requestBody?.content));
  for (const [status, response] of Object.entries(found.responses ?? {})) {
    const title = status === "default" ? "Any failure" : `Answer ${status}`;
    parts.push(...body(spec, title, response.content));
  }
  return element("article", { id: found.operationId }, ...parts);
}

function render(spec) {
  const groups = new Map();
  for (const [path, item] of Object.entries(spec.paths)) {
    for (const verb of methods) {
      const found = item[verb];
      if (!found) continue;
      const tag = found.tags?.[0] ?? "";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push({ path, verb, found });
    }
  }
  const list = element("ul", {});
  const sections = [];
  for (const [tag, operations] of groups) {
    sections.push(element("section", {}, element("h2", {}, tag), ...operations.map(({ path, verb, found }) => operation(spec, path, verb, found))));
    for (const { path, verb, found } of operations) {
      list.append(element("li", {}, element("a", { href: `#${found.operationId}` }, element("code", {}, `${verb.toUpperCase()} ${path}`))));
    }
  }
  document.getElementById("index").replaceChildren(list);
  document.getElementById("operations").replaceChildren(...sections);
}

fetch("openapi.json")
  .then((answer) => {
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return answer.json();
  })
  .then(render)
  .catch((error) => document.getElementById("operations").replaceChildren(element("p", { role: "alert" }, `The document cannot be shown: ${error.message}`)));
