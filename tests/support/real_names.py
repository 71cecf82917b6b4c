"""Names of people, towns and departments in thirty languages, and the code pages in which spreadsheets write them."""

from typing import NamedTuple


class Names(NamedTuple):
    """The names of one language.

    Args:
        encodings: The code pages in which a program may write them.
        names: Names, several words each.
    """

    encodings: tuple[str, ...]
    names: tuple[str, ...]


_WESTERN = ("cp1252", "mac_roman", "cp850")
_CENTRAL = ("cp1250", "mac_latin2", "cp852")


def _names(encodings: tuple[str, ...], text: str) -> Names:
    return Names(encodings, tuple(part.strip() for part in text.replace("\n", " ").split(",")))


NAMES = {
    "French": _names(
        _WESTERN,
        """François Lefèvre, Besançon, Hélène Dupré, Gérard Béranger, Noël Garçon, Zoé Côté, Anaïs Gaëlle Blanchard,
        Chloé Pâquet, Jérôme Bénard, Comptabilité générale, Contrôle de gestion, Société Générale, Trésorerie,
        Ressources humaines, Achats, Orléans, Nîmes, Évry, Étienne Chrétien, Loïc Guérin, Stéphane Forêt,
        Benoît Maître, Raphaël Rivière, Thérèse Lemaître, Saint-Étienne, Réception des factures, Opérations,
        Clôture mensuelle, Éditions, Dépôt, Qualité, Jean Martin, Paul Moreau, Café de la Gare, Mâcon, Béziers,
        Françoise Hérault, Aurélie Séguin, Cécile Château, Frédéric Prévost""",
    ),
    "German": _names(
        _WESTERN,
        """Jörg Müller, Björn Schäfer, Jürgen Groß, Käthe Weiß, Günther Köhler, Sören Krüger, Änne Böhm, Ute Strauß,
        Münster, Köln, Düsseldorf, Nürnberg, Göttingen, Lübeck, Würzburg, Gießen, Straßburg, Buchführung,
        Rechnungsprüfung, Personalabteilung, Einkauf, Öffentlichkeitsarbeit, Übersetzung, Verträge, Aufträge,
        Geschäftsführung, Bestände, Rückläufer, Anna Schmidt, Peter Meyer, Löwe, Jäger, Hübner, Förster, Bäcker,
        Lösungen GmbH, Schröder, Größe, Österreich, Ägidius""",
    ),
    "Spanish": _names(
        _WESTERN,
        """José Martínez, María Fernández, Ángel Núñez, Íñigo Muñoz, Óscar Gómez, Úrsula Peña, Begoña Ibáñez,
        Andrés Pérez, Málaga, Cádiz, León, Córdoba, La Coruña, Facturación, Contabilidad, Nóminas, Gestión,
        Recepción, Producción, Tesorería, Auditoría, Compañía, Diseño, Atención al cliente, Raúl Jiménez,
        Sofía López, Iván Rodríguez, Mónica Álvarez, Tomás Sánchez, Inés Domínguez, Belén García, Víctor Hernández,
        Lucía Vázquez, Año nuevo, Carlos Ruiz, Ana Torres, Concepción Ordóñez, Araújo, Güell, Zúñiga""",
    ),
    "Portuguese": _names(
        _WESTERN,
        """João Simões, Conceição Gonçalves, Inês Magalhães, Antônio Araújo, Sebastião Falcão, Lourenço Brandão,
        São Paulo, Brasília, Florianópolis, Guimarães, Setúbal, Évora, Faturação, Gestão de pessoas, Operações,
        Licitações, Logística, Expedição, Manutenção, Câmara, Ângela Conceição, Luís Mendonça, Mário Assunção,
        Júlia Leitão, Patrícia Galvão, Cláudia Nóbrega, Álvaro Cunha, Márcia Fagundes, Fábio Estêvão, Nações,
        Relatórios, Açores, Coração, Pedro Silva, Ana Costa, Tomás Pereira, André Furtado, Verônica, Estácio,
        Mourão""",
    ),
    "Italian": _names(
        _WESTERN,
        """Niccolò Rossi, Forlì, Contabilità, Nicolò Bianchi, Qualità, Cantù, Società Generale, Giosuè Carducci,
        Attività, Mondovì, Università, Andrea Ferrari, Luca Esposito, Acquisti, Tesoreria, Fedeltà, Novità, Caffè,
        Città di Castello, Noè Ricci, Mosè Greco, Pubblicità, Disponibilità, Identità, Più""",
    ),
    "Swedish": _names(
        _WESTERN,
        """Åsa Lindström, Björn Åkesson, Göran Sjöberg, Märta Öberg, Pär Nyström, Håkan Bäckström, Malmö, Göteborg,
        Västerås, Örebro, Linköping, Jönköping, Bokföring, Inköp, Löner, Försäljning, Ärenden, Avstämning,
        Östersund, Ängelholm, Sören Hägg, Åke Grönlund, Kundtjänst, Anna Svensson, Erik Johansson, Lagerhållning,
        Återbetalning, Utlägg, Växjö, Skellefteå""",
    ),
    "Danish": _names(
        _WESTERN,
        """Søren Kjær, Jørgen Ærø, Bjørn Østergaard, Åse Nørgaard, Mæt Højgaard, Ørsted, Århus, København,
        Helsingør, Køge, Løn, Bogføring, Indkøb, Afstemning, Kundetjeneste, Lærke Sørensen, Kåre Møller,
        Jens Hansen, Mette Nielsen, Rødovre, Næstved, Svømmehal, Særlige sager, Årsopgørelse, Østerbro""",
    ),
    "Finnish": _names(
        _WESTERN,
        """Väinö Hämäläinen, Jyväskylä, Hyvinkää, Päivi Mäkelä, Pentti Järvinen, Kyösti Yrjölä, Äänekoski,
        Järvenpää, Kirjanpito, Myyntireskontra, Henkilöstö, Pöytäkirja, Sähköposti, Leena Virtanen, Mikko Korhonen,
        Heikkilä, Lämpö, Tilintarkastus, Määräaika, Öljy, Äijälä, Ylöjärvi, Mäntsälä, Pääkirja, Yhtiö""",
    ),
    "Icelandic": _names(
        _WESTERN,
        """Guðrún Jónsdóttir, Sigríður Þórðardóttir, Þórdís Ævarsdóttir, Björk Guðmundsdóttir, Ísafjörður,
        Reykjavík, Hafnarfjörður, Ólafur Ragnarsson, Þorsteinn Önundarson, Árni Magnússon, Friðrik Sæmundsson,
        Keflavík, Mosfellsbær, Bókhald, Innkaup, Launaþjónusta, Viðskipti, Úlfar Ýr, Einar Örn, Egilsstaðir""",
    ),
    "Dutch": _names(
        _WESTERN,
        """Daniël de Vries, Zoë Janssen, Chloë Bakker, Michaël Smit, Financiën, Geïntegreerd, Coördinatie,
        Beëindiging, Patiënten, Inkoop, Verkoop, Jan de Boer, Reünie, Ruïne, Cliënten, Raphaël Visser, Categorieën,
        Industriële zaken, België, Italië""",
    ),
    "Norwegian": _names(
        _WESTERN,
        """Bjørn Ødegård, Håkon Sørlie, Åse Bråthen, Øystein Grønn, Pål Nærland, Tromsø, Ålesund, Bodø,
        Sandnessjøen, Lønn, Regnskap, Innkjøp, Kjøp, Årsavslutning, Øyvind Strøm, Kåre Næss, Sølvi Hågensen,
        Trøndelag, Gjøvik, Ås""",
    ),
    "Catalan": _names(
        _WESTERN,
        """Núria Àlvarez, Jordi Puigcercós, Mercè Rodoreda, Lluís Llach, Òscar Solé, València, Vilanova i la Geltrú,
        Comptabilitat, Gestió, Formació, Recepció, Françesc Sardà, Joaquim Roviró, Raïmon Güell, Tarragonès,
        Serveis, Lleó, Mataró, Castelló, Adrià""",
    ),
    "Polish": _names(
        _CENTRAL,
        """Łukasz Wójcik, Małgorzata Dąbrowska, Zbigniew Kołodziej, Bożena Śliwińska, Michał Żółkiewski, Łódź,
        Gdańsk, Kraków, Wrocław, Poznań, Rzeszów, Księgowość, Sprzedaż, Zarząd, Płatności, Należności,
        Świętokrzyskie, Jan Kowalski, Anna Nowak, Stanisław Jabłoński, Źródło, Częstochowa, Zamówienia,
        Środki trwałe, Wącław Gęsicki, Paweł Piątek, Józef Gołębiewski, Grażyna Sękowska, Ćwikła, Żaneta""",
    ),
    "Czech": _names(
        _CENTRAL,
        """Jiří Dvořák, Tomáš Novák, Zdeněk Kučera, Růžena Šťastná, Lukáš Čermák, Ondřej Vaněk, Plzeň, Břeclav,
        České Budějovice, Účetnictví, Nákup, Mzdy, Přijaté faktury, Řízení, Štěpán Hájek, Žaneta Říhová, Vítězslav,
        Havířov, Kateřina Světlá, Petr Svoboda, Jana Malá, Děčín, Třebíč, Výroba, Údržba, Šárka Němcová""",
    ),
    "Hungarian": _names(
        _CENTRAL,
        """Győr, Gyula Erdős, Árpád Kovács, László Szőke, Ildikó Fülöp, Ödön Hűvös, Pénzügy, Könyvelés, Számlázás,
        Beszerzés, Székesfehérvár, Sándor Petőfi, Zsófia Németh, Jenő Tűzes, Értékesítés, Ügyfélszolgálat,
        Ferenc Dózsa, Hódmezővásárhely, Ákos Balogh, Őrség, Űrlap, Gábor Nagy, Péter Tóth, Anikó Lakatos,
        Kecskemét""",
    ),
    "Romanian": _names(
        ("cp1250", "mac_latin2", "iso8859-2"),
        """Ştefan Ionescu, Bucureşti, Mureş, Constanţa, Timişoara, Piteşti, Ţepeş, Gheorghe Pârvu, Ioana Bălan,
        Braşov, Mihai Câmpeanu, Sfântu Gheorghe, Contabilitate, Achiziţii, Plăţi, Încasări, Vânzări, Iaşi, Ploieşti,
        Râmnicu, Ana Popescu, Cătălin Grădinaru, Măriuca Ţîrlea, Înregistrare, Brăila""",
    ),
    "Croatian": _names(
        _CENTRAL,
        """Željko Šarić, Đurđica Čović, Ćiril Kovačić, Šibenik, Čakovec, Požega, Računovodstvo, Plaće, Nabava,
        Poduzeće, Marko Horvat, Ivan Babić, Dražen Petrović, Snježana Đukić, Tomislav Mažuranić, Međimurje, Đakovo,
        Županja, Krešimir Ćosić, Vršac""",
    ),
    "Slovak": _names(
        _CENTRAL,
        """Ľubomír Štúr, Žilina, Košice, Prešov, Účtovníctvo, Nákup, Mzdové oddelenie, Juraj Jánošík,
        Katarína Ďuríková, Ján Kollár, Ľudmila Hušťavová, Trenčín, Nové Zámky, Vladimír Mečiar, Peter Kováč,
        Dôchodky, Výdavky, Kôň, Ťažba, Stará Ľubovňa""",
    ),
    "Slovenian": _names(
        _CENTRAL,
        """Primož Žagar, Črtomir Kovač, Špela Bučar, Računovodstvo, Plače, Škofja Loka, Žalec, Brežice,
        Matjaž Kmecl, Alenka Novak, Dušan Horvat, Boštjan Zupančič, Krško, Trbovlje, Jožica Šuštar, Nabava,
        Oddelek za prodajo, Tržič, Kočevje, Živa Ček""",
    ),
    "Turkish": _names(
        ("cp1254", "mac_turkish", "cp857"),
        """Şükrü Öztürk, Ayşe Yılmaz, İbrahim Çelik, Gülşen Doğan, Çağlar Işık, Muğla, İzmir, Eskişehir, Şanlıurfa,
        Diyarbakır, Muhasebe, Satın alma, İnsan kaynakları, Müşteri ilişkileri, Bütçe, Ödemeler, Mehmet Demir,
        Ali Kaya, Oğuz Güneş, Tuğba Şahin, Barış Kılıç, Iğdır, Niğde, Kırşehir, Faturalandırma, Özgür Aydın,
        Ümit Koç, Dağıtım, Yalçın Küçük, Zeynep Şimşek, Fırat, Sağlık""",
    ),
    "Lithuanian": _names(
        ("cp1257", "iso8859-13", "cp775"),
        """Šarūnas Jasikevičius, Žydrūnas Ilgauskas, Čiurlionis, Panevėžys, Šiauliai, Klaipėda, Rūta Meilutytė,
        Ąžuolas, Buhalterija, Pirkimų skyrius, Mokėjimai, Žmogiškieji ištekliai, Jonas Petraitis, Ona Kazlauskienė,
        Įmonė, Gediminas Kęstutis, Ūla Budrytė, Mažeikiai, Eglė Žukauskaitė, Darbuotojų sąrašas, Ėjimas, Šakiai,
        Vytautas, Telšiai, Kėdainiai""",
    ),
    "Latvian": _names(
        ("cp1257", "iso8859-13", "cp775"),
        """Jānis Bērziņš, Ģirts Ķēniņš, Līga Ozoliņa, Kārlis Ulmanis, Rēzekne, Jūrmala, Liepāja, Grāmatvedība,
        Iepirkumi, Pārdošana, Ņikita Ļebedevs, Šarlote Lūse, Māris Kalniņš, Zeltīte Žagare, Ūdens, Čakste,
        Anna Liepa, Pēteris Kļaviņš, Cēsis, Ēriks Ābele, Māra, Jēkabpils, Algu nodaļa, Ķekava, Ilūkste""",
    ),
    "Estonian": _names(
        ("cp1257", "cp1252", "iso8859-15"),
        """Jüri Mõis, Õnne Põld, Tõnu Kõrvits, Ülle Käärik, Võru, Pärnu, Jõgeva, Põlva, Raamatupidamine, Müük,
        Žanna Šein, Märt Väljas, Äksi, Jaan Tamm, Mari Saar, Ülo Öö, Hüvitised, Tööandja, Kõne, Lääne""",
    ),
    "Vietnamese": _names(
        ("cp1258",),
        """Nguyễn Văn Hùng, Trần Thị Hoa, Lê Đức Anh, Phạm Minh Tuấn, Đặng Thu Hà, Hồ Chí Minh, Đà Nẵng, Hải Phòng,
        Kế toán, Nhân sự, Mua hàng, Phòng kinh doanh, Vũ Thành Công, Bùi Thị Xuân, Đỗ Mười, Cần Thơ, Huế, Ngô Quyền,
        Lý Thường Kiệt, Võ Nguyên Giáp""",
    ),
    "Russian": _names(
        ("cp1251", "koi8-r", "mac_cyrillic", "cp866"),
        """Иван Петров, Бухгалтерия, Отдел кадров, Мария Кузнецова, Дмитрий Соловьёв, Екатеринбург, Челябинск,
        Закупки, Юрий Гагарин, Фёдор Щукин, Объединение, Ольга Цветкова, Санкт-Петербург, Казань, Робот счетов,
        Анна, Яна""",
    ),
    "Ukrainian": _names(
        ("cp1251", "koi8-u", "mac_cyrillic"),
        """Олександр Шевченко, Київ, Їжак, Євген Ґудзь, Бухгалтерія, Відділ кадрів, Наталія Лісова, Запоріжжя,
        Закупівлі, Ірина Ільченко, Микола, Юлія, Чернівці, Львів, Дніпро""",
    ),
    "Bulgarian": _names(
        ("cp1251", "mac_cyrillic"),
        """Георги Димитров, Счетоводство, Пловдив, Стара Загора, Човешки ресурси, Петър Стоянов, Ангел Кънчев,
        Доставки, Цветелина Янева, Щъркел, Бургас, Юлиян""",
    ),
    "Greek": _names(
        ("cp1253", "iso8859-7", "cp737"),
        """Γιώργος Παπαδόπουλος, Θεσσαλονίκη, Λογιστήριο, Προμήθειες, Ελένη Νικολάου, Αθήνα, Κωνσταντίνος, Ήπειρος,
        Μισθοδοσία, Έλλη, Ωραία, Χρήστος, Όλγα Ψαρρά, Ύδρα, Ξάνθη""",
    ),
    "Hebrew": _names(
        ("cp1255", "iso8859-8", "cp862"),
        """דוד לוי, הנהלת חשבונות, ירושלים, משאבי אנוש, שרה כהן, תל אביב, רכש, חיפה, יוסף מזרחי, מכירות, אבי,
        נתניה""",
    ),
    "Arabic": _names(
        ("cp1256", "iso8859-6"),
        """محمد علي, المحاسبة, القاهرة, الموارد البشرية, فاطمة حسن, الرياض, المشتريات, أحمد إبراهيم, مبيعات, يوسف,
        دبي""",
    ),
    "Japanese": _names(
        ("cp932", "euc_jp"),
        """田中太郎, 経理ロボット, 佐藤花子, 東京支店, 請求書処理, 大阪営業部, 人事部, 鈴木一郎, ロボット, 総務課,
        高橋健, 山本さくら, 渡辺直美, 受注管理, 在庫確認, 売上集計, 横浜, 情報システム部, 伊藤, 購買""",
    ),
    "Simplified Chinese": _names(
        ("gb18030", "gb2312"),
        """王伟, 财务部, 李娜, 北京分公司, 张敏, 采购机器人, 刘洋, 人力资源部, 陈静, 上海, 杨帆, 应付账款, 发票处理,
        赵磊, 黄秀英, 周杰, 广州办事处, 信息技术部, 客户服务, 库存管理, 吴强, 徐丽, 销售报表""",
    ),
    "Traditional Chinese": _names(
        ("cp950", "big5hkscs"),
        """陳志明, 財務部, 林美玲, 臺北分公司, 張家豪, 採購機器人, 黃淑芬, 人力資源部, 應付帳款, 發票處理, 高雄,
        李國華, 吳怡君, 資訊部, 客戶服務, 庫存管理, 劉德華, 鄭雅文, 銷售報表, 會計室""",
    ),
    "Korean": _names(
        ("cp949",),
        """김철수, 경리부, 이영희, 서울지점, 박지훈, 구매로봇, 최민정, 인사팀, 송장처리, 정수현, 부산, 재고관리,
        한지민, 영업본부, 강동원, 윤서연, 정보시스템부, 고객지원, 매출집계, 대구""",
    ),
}
