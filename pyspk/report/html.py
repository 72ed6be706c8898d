"""HTML and SVG elements as text, where whatever a name holds stays text: escaped, and apart from its surroundings."""

import re
from html import escape

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")      # no text may hold these


class Markup(str):
    """Text that is markup already and is not escaped again. Only `tag` and `join` make it."""

    __slots__ = ()


def tag(element: str, *children: object, **attributes: object) -> Markup:
    """`element` around `children`, which are escaped unless they are Markup; None among them is left out.

    attributes: class_ is class, aria_label is aria-label; None is left out, True stands alone. Well-formed XML too.
    """
    words = [element]
    for name, value in attributes.items():
        if value is not None and value is not False:
            key = name.removesuffix("_").replace("_", "-")
            words.append(f'{key}="{"" if value is True else _text(value)}"')
    opening = " ".join(words)
    content = join(*children)
    return Markup(f"<{opening}>{content}</{element}>" if content or element not in _VOID else f"<{opening}/>")


def join(*children: object) -> Markup:
    """`children` one after the other, escaped unless they are Markup; None is left out."""
    return Markup("".join(child if isinstance(child, Markup) else _text(child)
                          for child in children if child is not None))


def name_of(name: object) -> Markup:
    """A name from outside: its direction of writing does not touch the text around it, and it may break anywhere."""
    return tag("bdi", name)


def _text(value: object) -> str:
    return escape(_CONTROL.sub("\ufffd", str(value)), quote=True)


_VOID = {"meta", "link", "br", "path", "line", "circle", "rect"}
