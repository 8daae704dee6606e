"""The letters that the system writes, in three languages. Nothing personal stands in a subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Letter:
    """Texts by language; `{name}` and `{link}` are filled in."""

    subject: dict[str, str]
    body: dict[str, str]


_END = {
    "en": "\n\nArmonika\nThis letter was sent by a machine; answers reach our support.",
    "fr": "\n\nArmonika\nCe courrier est envoyé par une machine ; les réponses parviennent à notre support.",
    "ar": "\n\nArmonika\nأُرسلت هذه الرسالة آليا؛ وتصل الردود إلى فريق الدعم.",
}
LETTERS = {
    "send-verification": Letter(
        {"en": "Confirm your address", "fr": "Confirmez votre adresse", "ar": "أكدوا عنوانكم"},
        {
            "en": "Hello {name},\n\nopen this page and press the button to confirm your address:\n{link}\n\nThe link works once, for 24 hours. If you did not register with us, do nothing: the account stays closed.",
            "fr": "Bonjour {name},\n\nouvrez cette page et appuyez sur le bouton pour confirmer votre adresse :\n{link}\n\nLe lien fonctionne une fois, pendant 24 heures. Si vous ne vous êtes pas inscrit chez nous, ne faites rien : le compte reste fermé.",
            "ar": "مرحبا {name}،\n\nافتحوا هذه الصفحة واضغطوا الزر لتأكيد عنوانكم:\n{link}\n\nيعمل الرابط مرة واحدة خلال 24 ساعة. إذا لم تسجلوا لدينا فلا تفعلوا شيئا: يبقى الحساب مغلقا.",
        },
    ),
    "send-already-registered": Letter(
        {"en": "You already have an account", "fr": "Vous avez déjà un compte", "ar": "لديكم حساب من قبل"},
        {
            "en": "Hello {name},\n\nsomebody, perhaps you, tried to register with this address, which has an account already. You can sign in, or choose a new password:\n{link}\n\nIf it was not you, nothing needs to be done.",
            "fr": "Bonjour {name},\n\nquelqu'un, peut-être vous, a tenté de s'inscrire avec cette adresse, qui a déjà un compte. Vous pouvez vous connecter ou choisir un nouveau mot de passe :\n{link}\n\nSi ce n'était pas vous, il n'y a rien à faire.",
            "ar": "مرحبا {name}،\n\nحاول أحدهم، وربما أنتم، التسجيل بهذا العنوان الذي له حساب من قبل. يمكنكم تسجيل الدخول أو اختيار كلمة سر جديدة:\n{link}\n\nإذا لم تكونوا أنتم فلا حاجة لفعل شيء.",
        },
    ),
    "send-reset": Letter(
        {"en": "Choose a new password", "fr": "Choisissez un nouveau mot de passe", "ar": "اختاروا كلمة سر جديدة"},
        {
            "en": "Hello {name},\n\nopen this page to choose a new password:\n{link}\n\nThe link works once, for 1 hour. If you did not ask for it, do nothing: your password stays as it is.",
            "fr": "Bonjour {name},\n\nouvrez cette page pour choisir un nouveau mot de passe :\n{link}\n\nLe lien fonctionne une fois, pendant 1 heure. Si vous ne l'avez pas demandé, ne faites rien : votre mot de passe reste inchangé.",
            "ar": "مرحبا {name}،\n\nافتحوا هذه الصفحة لاختيار كلمة سر جديدة:\n{link}\n\nيعمل الرابط مرة واحدة خلال 1 ساعة. إذا لم تطلبوا ذلك فلا تفعلوا شيئا: تبقى كلمة السر كما هي.",
        },
    ),
}

ADMINISTRATOR = Letter(
    {"en": "The administrator's rights were used", "fr": "Les droits de l'administrateur ont été utilisés", "ar": "استُعملت صلاحيات مسؤول النظام"},
    {
        "en": "Hello,\n\nsomething was done on the machine with the administrator's rights. Sign in at the console to see what, and to record that you saw it:\n{link}\n\nThis letter goes to who looks after the protection of data. It names nobody.",
        "fr": "Bonjour,\n\nune action a été faite sur la machine avec les droits de l'administrateur. Connectez-vous à la console pour voir laquelle et enregistrer votre consultation :\n{link}\n\nCe courrier s'adresse aux responsables de la protection des données. Il ne nomme personne.",
        "ar": "مرحبا،\n\nجرى عمل على الجهاز بصلاحيات مسؤول النظام. سجلوا الدخول إلى واجهة الموظفين للاطلاع عليه وتسجيل اطلاعكم:\n{link}\n\nهذه الرسالة موجهة إلى القائمين على حماية المعطيات، ولا تسمي أحدا.",
    },
)  # fmt: skip
"""For who looks after the administrator's actions: one letter for all of them, in every language of the policy, for nobody's own is read."""


def compose_notice(languages: Sequence[str], links: Mapping[str, str]) -> tuple[str, str]:
    """Subject and body of the letter about the administrator's actions, the parts of all `languages` in turn. `links` are by language."""
    parts = [ADMINISTRATOR.body[language].format(link=links[language]) + _END[language] for language in languages]
    return " · ".join(ADMINISTRATOR.subject[language] for language in languages), "\n\n\n".join(parts)


def compose(task: str, language: str, name: str, link: str) -> tuple[str, str]:
    """Subject and body of a letter."""
    letter = LETTERS[task]
    return letter.subject[language], letter.body[language].format(name=name.replace("\n", " "), link=link) + _END[language]
